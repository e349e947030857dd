/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM's reservation, CPUs and role, and its end.
 */
#ifndef KMOD_CONFIG_H
#define KMOD_CONFIG_H

struct spare_node;
struct spare_vm_kern;
struct spare_vm_config;

struct spare_vm_kern *spare_config_vm(struct spare_node *node);
int __must_check spare_config_set(struct spare_vm_kern *vm, const struct spare_vm_config *new);

void spare_config_sweep(void);
void spare_config_sweep_for(struct spare_vm_kern *vm);
void spare_config_remove(struct spare_vm_kern *vm);
void spare_config_stop(void);

#endif /* KMOD_CONFIG_H */

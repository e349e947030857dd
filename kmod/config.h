/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM's reservation, CPUs and role, and its end.
 */
#ifndef KMOD_CONFIG_H
#define KMOD_CONFIG_H

struct spare_node;
struct vm;
struct vm_config;

struct vm *spare_config_vm(struct spare_node *node);
int __must_check spare_config_set(struct vm *vm, const struct vm_config *new);

void spare_config_sweep(void);
void spare_config_sweep_for(struct vm *vm);
void spare_config_remove(struct vm *vm);
void spare_config_stop(void);

#endif /* KMOD_CONFIG_H */

/* SPDX-License-Identifier: GPL-2.0-only */
/* For libraries that are preloaded into QEMU: functions of its own are found by name (it exports them for its modules) and replaced. */
#ifndef SPARE_QEMU_CODE_H
#define SPARE_QEMU_CODE_H

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace qemu {

/* A library that cannot do its work ends QEMU: its results would be those of another machine. */
[[noreturn]] inline void die(const char *what)
{
	std::fprintf(stderr, "preloaded into QEMU: %s\n", what);
	_exit(2);
}

/* Null in a program by which QEMU is started (env, timeout), and for what this QEMU has no longer. */
template <typename F> F *function(const char *name)
{
	return reinterpret_cast<F *>(dlsym(RTLD_DEFAULT, name));
}

constexpr size_t jump_bytes = 12;

/* movabs $target, %rax; jmp *%rax */
inline void write_jump(unsigned char *at, uintptr_t target)
{
	unsigned char jump[jump_bytes] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};

	std::memcpy(jump + 2, &target, sizeof(target));
	std::memcpy(at, jump, sizeof(jump));
}

/* From now on who calls the function calls the other one. */
template <typename F> void replace(F *entry, F *with)
{
	const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
	const auto at = reinterpret_cast<uintptr_t>(entry);
	auto *start = reinterpret_cast<void *>(at & ~(page - 1));

	if (mprotect(start, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC))
		die("cannot write to QEMU's code");
	write_jump(reinterpret_cast<unsigned char *>(at), reinterpret_cast<uintptr_t>(with));
	mprotect(start, 2 * page, PROT_READ | PROT_EXEC);
}

} // namespace qemu

#endif /* SPARE_QEMU_CODE_H */

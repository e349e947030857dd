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

/*
 * Bytes of the instruction there, if it is one of those with which functions begin and does the same wherever it stands; else 0: endbr64, push,
 * mov %reg,%reg, mov %reg,disp32(%reg), andl $imm8,disp32(%reg), testb $imm,disp32(%reg), addq $imm32,%reg, pxor %xmm0,%xmm0.
 */
inline size_t movable(const unsigned char *at)
{
	static constexpr unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa}, pxor[] = {0x66, 0x0f, 0xef, 0xc0};
	const size_t rex = (*at & 0xf0) == 0x40;
	const unsigned char *op = at + rex;

	if (!std::memcmp(at, endbr64, sizeof(endbr64)))
		return sizeof(endbr64);
	if (!std::memcmp(at, pxor, sizeof(pxor)))
		return sizeof(pxor);
	if (rex && *op == 0x81 && op[1] >> 3 == 0x18)
		return rex + 6;
	if ((*op & 0xf8) == 0x50)
		return rex + 1;
	if (*op == 0x89 && op[1] >> 6 == 3)
		return rex + 2;
	if (op[1] >> 6 == 2 && (op[1] & 7) != 4) {
		if (*op == 0x89)
			return rex + 6;
		if ((*op == 0xf6 && !(op[1] & 0x38)) || (*op == 0x83 && (op[1] & 0x38) == 0x20))
			return rex + 7;
	}
	return 0;
}

/* As replace(); returns what does as the function did. Null, and nothing is changed, when it begins with something that cannot be moved. */
template <typename F> F *wrap(F *entry, F *with)
{
	const auto *from = reinterpret_cast<const unsigned char *>(entry);
	size_t taken = 0;

	while (taken < jump_bytes) {
		const size_t bytes = movable(from + taken);

		if (!bytes)
			return nullptr;
		taken += bytes;
	}
	auto *copy = static_cast<unsigned char *>(mmap(nullptr, static_cast<size_t>(sysconf(_SC_PAGESIZE)), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	if (copy == MAP_FAILED)
		die("no memory for a function's beginning");
	std::memcpy(copy, from, taken);
	write_jump(copy + taken, reinterpret_cast<uintptr_t>(from) + taken);
	mprotect(copy, static_cast<size_t>(sysconf(_SC_PAGESIZE)), PROT_READ | PROT_EXEC);
	replace(entry, with);
	return reinterpret_cast<F *>(copy);
}

} // namespace qemu

#endif /* SPARE_QEMU_CODE_H */

/* SPDX-License-Identifier: GPL-2.0-only */
/* shm_map.h - a running stand-in's stamps, for those who send to it. */
#pragma once

#include "standin_shm.h"
#include "tool_util.h"

#include <sys/mman.h>
#include <sys/stat.h>

namespace tool {

/* Maps the file at path once its stand-in is ready, and forgets the stamps of earlier packets. */
inline standin::shm *map_standin(const std::string &path)
{
	const uint64_t limit = now_ns() + 10000000000u;
	struct stat st{};
	Fd fd;

	do {
		fd = Fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
		if (fd && !fstat(fd.get(), &st) && size_t(st.st_size) == sizeof(standin::shm))
			break;
		if (now_ns() > limit)
			die("no stand-in at {}", path);
		sleep_for(10000000);
	} while (true);
	void *p = mmap(nullptr, sizeof(standin::shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
	if (p == MAP_FAILED)
		die("mmap {}", path);
	auto *shm = static_cast<standin::shm *>(p);
	while (!shm->ready.load())
		if (now_ns() > limit)
			die("the stand-in at {} does not get ready", path);
		else
			sleep_for(10000000);
	if (shm->magic != standin::kMagic || shm->version != standin::kVersion)
		die("{} is not of this version", path);
	/* Stamps that an earlier generator left would hide a loss. */
	for (standin::packet_record &r : shm->packet)
		for (auto *stamp : {&r.picked_ns, &r.seen_ns, &r.replied_ns})
			stamp->store(0);
	shm->duplicates.store(0);
	return shm;
}

} // namespace tool

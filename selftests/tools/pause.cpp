// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-pause - ends in the deterministic host's QEMU stopping at this instruction, for good or to go on from its saved state (host/stack.sh)
 *
 * It writes to the port of QEMU's pvpanic device (docs/specs/pvpanic.rst), which "-action panic=pause" makes a pause.
 */
#include "tool_util.h"
#include "tools.h"

#include <cerrno>
#include <cstring>

#include <sys/io.h>

namespace spare_pause {

int run(int, char **)
{
	constexpr unsigned port = 0x505, panicked = 1;

	if (ioperm(port, 1, 1))
		tool::die("ioperm: {}", std::strerror(errno));
	if (!(inb(port) & panicked))
		tool::die("this machine has no pvpanic device");
	outb(panicked, port);
	return 0;
}

} // namespace spare_pause

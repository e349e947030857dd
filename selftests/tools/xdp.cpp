// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-xdp - what comes in at one interface leaves at another, by a native XDP program (bpf_redirect()) that lives as long as this
 * process. Says "attached" once it does.
 */
#include "cli/options.hpp"
#include "tool_util.h"
#include "tools.h"

#include <csignal>
#include <cstdint>

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/syscall.h>

using namespace tool;

namespace spare_xdp {
namespace {

int bpf(bpf_cmd cmd, const bpf_attr &attr) { return int(syscall(SYS_bpf, cmd, &attr, sizeof(attr))); }

constexpr bpf_insn move(uint8_t reg, int32_t value) { return {BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, value}; }

unsigned index_of(const std::string &name)
{
	const unsigned index = if_nametoindex(name.c_str());

	if (!index)
		die("no interface {}", name);
	return index;
}

/* return bpf_redirect(to, 0) */
Fd load(unsigned to)
{
	const bpf_insn code[] = {move(BPF_REG_1, int32_t(to)), move(BPF_REG_2, 0), {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
	bpf_attr attr{};

	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insn_cnt = std::size(code);
	attr.insns = reinterpret_cast<uintptr_t>(code);
	attr.license = reinterpret_cast<uintptr_t>("GPL");
	return Fd(bpf(BPF_PROG_LOAD, attr));
}

} // namespace

int run(int argc, char **argv)
{
	cli::App app("redirects what comes in at FROM to TO by XDP, until SIGTERM or SIGINT");
	std::string from, to;
	sigset_t set;
	int sig;

	app.add_option("FROM", from, "interface")->required();
	app.add_option("TO", to, "interface")->required();
	if (const auto status = app.parse(argc, argv))
		return *status;
	errno = 0;
	const Fd program = load(index_of(to));
	if (!program)
		die("BPF_PROG_LOAD");
	bpf_attr attr{};
	attr.link_create.prog_fd = uint32_t(program.get());
	attr.link_create.target_ifindex = index_of(from);
	attr.link_create.attach_type = BPF_XDP;
	attr.link_create.flags = XDP_FLAGS_DRV_MODE;
	const Fd link(bpf(BPF_LINK_CREATE, attr));
	if (!link)
		die("BPF_LINK_CREATE at {}", from);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, nullptr);
	fmt::print("attached\n");
	std::fflush(stdout);
	sigwait(&set, &sig);
	return 0;
}

} // namespace spare_xdp

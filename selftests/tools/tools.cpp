// SPDX-License-Identifier: GPL-2.0-only
/*
 * spare-tools - the instruments of the tests in one program, which is the tool by whose name it is called: compiled and linked
 * one by one they would take 10 s more.
 */
#include "tools.h"

#include <cstdio>
#include <string_view>

int main(int argc, char **argv)
{
	static constexpr struct {
		std::string_view name;
		int (*run)(int argc, char **argv);
	} tools[] = {
		{"spare-burn", spare_burn::run},
		{"spare-burst", spare_burst::run},
		{"spare-contend", spare_contend::run},
		{"spare-cost", spare_cost::run},
		{"spare-mix", spare_mix::run},
		{"spare-nic", spare_nic::run},
		{"spare-pause", spare_pause::run},
		{"spare-peer", spare_peer::run},
		{"spare-pktgen", spare_pktgen::run},
		{"spare-scale", spare_scale::run},
		{"spare-standin", spare_standin::run},
		{"spare-trace", spare_trace::run},
		{"spare-vhost", spare_vhost::run},
		{"spare-xdp", spare_xdp::run},
	};
	const std::string_view path = argv[0], name = path.substr(path.rfind('/') + 1);

	for (const auto &tool : tools)
		if (name == tool.name)
			return tool.run(argc, argv);
	std::fputs("spare-tools: called by the name of none of its tools:", stderr);
	for (const auto &tool : tools)
		std::fprintf(stderr, " %s", tool.name.data());
	std::fputs("\n", stderr);
	return 2;
}

// SPDX-License-Identifier: GPL-2.0-only
#include "plan_command.hpp"

#include "sched_spare/abi.h"

namespace sparectl {

PlanCommand::PlanCommand(cli::App& app, const spare::Roots& roots, std::function<spare::Result<void>()>& action) {
  cli::App* plan = app.add_subcommand("plan", "how many spares do VMs need, and do VMs fit a host? Touches nothing");
  plan->add_option("--vms", plan_.vms, "VMs on one CPU that share its pool")->check(cli::Range(1, static_cast<int>(SPARE_SLOTS)));
  plan->add_option("--vm", plan_.vm, "their reservation, as 5ms/100ms")->type_name("Q/P");
  plan->add_option("--spare", plan_.spare, "a spare's reservation, as 1ms/10ms")->type_name("Qs/Ps");
  plan->add_option("--rate", plan_.rate_hz, "bursts of packets a second and VM, at random moments")->check(cli::Range(0.0, 1e6));
  plan->add_option("--burst", plan_.burst, "packets of a burst")->check(cli::Range(1, 500))->capture_default_str();
  plan->add_option("--broadcast", plan_.broadcast_hz, "packets a second to all VMs at the same instant")
      ->check(cli::Range(0.0, 1e6));
  plan->add_option("--packets", plan_.packets, "recorded packets: lines time_us,vm with vm from 0")->type_name("FILE");
  plan->add_option("--target", plan_.target, "share of claims that may be denied, as 0.001 or 0.1%")->capture_default_str();
  plan->add_option("--grant", plan_.grant, "spare time per packet (spare.policy grant_us)")->capture_default_str();
  plan->add_option("--packet", plan_.packet, "CPU time of the network thread per packet")->capture_default_str();
  plan->add_option("--limit", plan_.limit_ppm, "admission limit, ppm of a CPU")
      ->check(cli::Range(1, 1000000))
      ->capture_default_str();
  plan->add_option("--seconds", plan_.seconds, "time to simulate; 0: only the loss model")
      ->check(cli::Range(0.0, 1e6))
      ->capture_default_str();
  plan->add_option("--seed", plan_.seed, "of the simulation")->capture_default_str();
  plan->add_flag("--json", plan_.json, "for programs");
  plan->require_subcommand(0, 1);

  cli::App* fit = plan->add_subcommand("fit", "do these VMs fit a host, which CPU would be full, what would fit?");
  fit->add_option("--vm", fit_.vms, "a kind of VM: reservation, number of them, vCPUs; again for another kind")
      ->type_name("Q/P[xN][*vcpus]")
      ->allow_extra_args(false);
  fit->add_option("--file", fit_.file, "kinds of VMs, one in each line")->type_name("FILE");
  fit->add_option("--cpus", fit_.cpus, "CPUs of the host; default: those of this machine")->check(cli::Range(1, 65536));
  fit->add_option("--pool", fit_.pool, "spares on each CPU")->type_name("Qs/Ps[xK]");
  fit->add_option("--limit", fit_.limit_ppm, "admission limit, ppm of a CPU; default: the loaded module's")
      ->check(cli::Range(1, 1000000));
  fit->add_flag("--json", fit_.json, "for programs");

  plan->callback([this, &roots, &action, plan] {
    action = plan->has_subcommand() ? std::function<spare::Result<void>()>([this, &roots] { return plan_fit(roots, fit_); })
                                    : [this] { return sparectl::plan(plan_); };
  });
}

}  // namespace sparectl

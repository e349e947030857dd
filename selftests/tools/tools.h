/* SPDX-License-Identifier: GPL-2.0-only */
/* tools.h - what each tool does, in place of a main() */
#pragma once

namespace spare_burn {
int run(int argc, char **argv);
}
namespace spare_burst {
int run(int argc, char **argv);
}
namespace spare_contend {
int run(int argc, char **argv);
}
namespace spare_cost {
int run(int argc, char **argv);
}
namespace spare_mix {
int run(int argc, char **argv);
}
namespace spare_nic {
int run(int argc, char **argv);
}
namespace spare_pause {
int run(int argc, char **argv);
}
namespace spare_peer {
int run(int argc, char **argv);
}
namespace spare_pktgen {
int run(int argc, char **argv);
}
namespace spare_scale {
int run(int argc, char **argv);
}
namespace spare_standin {
int run(int argc, char **argv);
}
namespace spare_trace {
int run(int argc, char **argv);
}
namespace spare_vhost {
int run(int argc, char **argv);
}
namespace spare_xdp {
int run(int argc, char **argv);
}

// SPDX-License-Identifier: GPL-2.0-only
/*
 * libspare-svm-fixes.so - preloaded into the real-time host's QEMU: two functions of its SVM emulation do nothing. Each comes
 * between a nested guest and its host (QEMU 10.0.13 and 11.1.3; with two vCPUs one in ten to thirty guests):
 *
 * cpu_clear_ignne() takes a bit out of the FIRST CPU's hflags2 by a plain read and write, at every XRSTOR of every CPU and from the
 * thread that emulates that one. When the first CPU just leaves a nested guest, do_vmexit() takes the nested-paging bit out of the
 * same word, and the other thread's write can bring it back. The host goes on below the guest's page tables; at its first fault
 * "the guest" exits once more, with the host's registers: a nested guest that hangs, or a host that takes an interrupt with the guest's
 * GS and dies, often without a word. What the function is for, IGNNE#, is set by a write to port F0h alone: no 64-bit kernel does that.
 *
 * handle_even_inj() writes an exception that the guest takes by itself into the VMCB's EVENTINJ. Once it is delivered, QEMU takes the
 * valid bit out and leaves the type; the next exit has that in EXITINTINFO. KVM looks at the type alone (svm_check_emulate_instruction())
 * and, when the exit was for an access to a device, gives up: "KVM internal error. Suberror: 3". An exception whose delivery faults in
 * the nested tables is not reported as such without it; the guest's instruction then makes it again.
 */
#include <initializer_list>

#include "qemu_code.h"

namespace {
void nothing() {}

__attribute__((constructor)) void fix()
{
	for (const char *name : {"cpu_clear_ignne", "handle_even_inj"})
		if (auto *entry = qemu::function<void()>(name))
			qemu::replace(entry, &nothing);
}
} // namespace

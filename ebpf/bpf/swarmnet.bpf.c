// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
/* The data plane as one object: one program per kind of device, attached many times. */
#include "abi.h"
#include "maps.h"
#include "from_task.h"
#include "from_gw.h"
#include "from_net.h"
#include "from_uplink.h"
#include "from_host.h"
#include "socket.h"

/* Makes the compiler describe every enum of abi.h in BTF, for the layout test. */
struct abi_enums {
	enum reserved_vni reserved_vni;
	enum iface_flag iface_flag;
	enum ep_kind ep_kind;
	enum be_state be_state;
	enum be_kind be_kind;
	enum vni_flag vni_flag;
	enum svc_flag svc_flag;
	enum port_flag port_flag;
	enum lflag lflag;
	enum conf_feature conf_feature;
	enum ct_dir ct_dir;
	enum ct_flag ct_flag;
	enum ct_timeout ct_timeout;
	enum probe_kind probe_kind;
	enum drop_reason drop_reason;
	enum test_action test_action;
};
volatile const struct abi_enums swn_abi = {};
volatile const struct event swn_event = {}; /* a ring has no value type */
volatile const struct probe_header swn_probe_header = {}; /* on the wire only */

char _license[] SEC("license") = "GPL";

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * abi.h: every key, value, flag, limit and drop reason shared with Rust. THE definition.
 *
 * src/abi.rs mirrors this file; tests/layout.rs compares both through BTF.
 * Rules: no implicit padding (keys are compared as bytes), fixed-width integers, no bool;
 * __be32/__be16 are network byte order, everything else is host byte order.
 * `node` is always an index into the map `nodes`; 0 is this node.
 */
#ifndef SWN_ABI_H
#define SWN_ABI_H

#include <linux/types.h>

/* ---- limits ---- */
#define SWN_MAX_SUBNETS 8
#define SWN_MAX_DROPS 64
#define SWN_CLAIM_TRIES 32
#define SWN_MAX_ASKERS 8192 /* addresses in SWN_ASKERS: one per lidx */

/* ---- fixed addresses (host byte order; see datapath: link-local ranges) ---- */
#define SWN_NEXT_HOP 0xa9fe0101u    /* 169.254.1.1, default route of a gateway attachment */
#define SWN_RESOLVER 0xa9fe4d35u    /* 169.254.77.53, the resolver as tasks see it */
#define SWN_MESH_SELF 0xa9fe5701u   /* 169.254.87.1, the mesh as seen by host processes */
#define SWN_STAND_IN 0xa9fe5702u    /* 169.254.87.2, replaces clients a task could not answer */
#define SWN_ASKERS 0xa9fec000u      /* 169.254.192.0/19, + lidx: tasks as the resolver sees them */
#define SWN_ASKERS_MASK 0xffffe000u

#define SWN_ETH_PROBE 0x88b5 /* IEEE 802, for local experiments */

/* ---- virtual network ids below 16 are ours ---- */
enum reserved_vni {
	VNI_HOST = 0,     /* in keys: host and gateway side */
	VNI_MESH_FWD = 1, /* entry node -> backend node */
	VNI_MESH_RET = 2, /* backend node -> entry node */
	VNI_PROBE = 3,    /* connectivity test */
};

enum iface_flag {
	IFACE_GW = 1,        /* gateway attachment */
	IFACE_INTERNAL = 2,  /* no way out (gateway exists only for published ports) */
	IFACE_PUBLISHES = 4, /* the task has published ports */
	IFACE_UPLINK = 8,    /* a NIC; `mac` is its own address */
	IFACE_ENCRYPTED = 16, /* overlay attachment of an encrypted network */
};

enum ep_kind {
	EP_LOCAL = 1,
	EP_REMOTE = 2,
	EP_VIP = 3,
	EP_GATEWAY = 4, /* the network's gateway address: answers ARP, nothing else */
	EP_GONE = 5,    /* tombstone */
};

enum be_state {
	BE_ACTIVE = 1,
	BE_DRAINING = 2,
	BE_DOWN = 3,
};

enum be_kind {
	BE_VIP = 1,  /* addr is an overlay address in network vni */
	BE_MESH = 2, /* addr is a gateway address on node `node` */
};

enum vni_flag {
	VNI_ENCRYPTED = 1,
	VNI_INTERNAL = 2,
};

enum svc_flag {
	SVC_USED = 1, /* the index belongs to a service; cleared when it is removed */
};

enum port_flag {
	PORT_LOCAL_PREF = 1,
	PORT_CLIENT_AFFINITY = 2,
	PORT_ALLOWLIST = 4,
};

enum lflag {
	LFLAG_VIP_FLOWS = 1, /* replies to this endpoint need a VIP_REV lookup */
};

enum conf_feature {
	FEATURE_NONE = 0,
};

enum ct_dir {
	CT_VIP_FWD = 1,
	CT_VIP_REV = 2,
	CT_ENTRY_FWD = 3,
	CT_ENTRY_REV = 4,
	CT_BACK_FWD = 5,
	CT_BACK_REV = 6,
};

enum ct_flag {
	CT_SEEN_REPLY = 1,
	CT_FIN_A = 2, /* from the client */
	CT_FIN_B = 4, /* from the backend */
	CT_RST = 8,
	CT_HAIRPIN = 16,
	CT_CLIENT_RW = 32,   /* caddr:cport differ from the packet the client sent */
	CT_LOCAL_ENTRY = 64, /* BACK_REV: this node is the entry node */
	CT_TO_HOST = 128,    /* the client is a process of this host */
	CT_TO_TASK = 256,    /* the client is a task of this node */
	CT_HAIRPIN_BACK = 512, /* of the two halves of a hairpin, the server's */
};

enum ct_timeout { /* seconds */
	CT_TCP_ESTABLISHED = 21600,
	CT_TCP_NEW = 60,
	CT_TCP_CLOSING = 10,
	CT_OTHER = 60,
	CT_ICMP = 30,
};

enum probe_kind { /* of frames in VNI_PROBE; the ethertype is SWN_ETH_PROBE */
	PROBE_REQUEST = 1, /* to be sent back without its padding */
	PROBE_WHOLE = 2,   /* to be sent back at full size */
	PROBE_REPLY = 3,
};

/* Append only: the numbers are shown by `swarmnet debug drops`. */
enum drop_reason {
	DROP_NO_IFACE = 1,
	DROP_MALFORMED = 2,
	DROP_ETHERTYPE = 3,
	DROP_VLAN = 4,
	DROP_IPV6_OFF = 5,
	DROP_MCAST_BCAST = 6,
	DROP_SPOOF_MAC = 7,
	DROP_SPOOF_IP = 8,
	DROP_SPOOF_ARP = 9,
	DROP_ARP_UNKNOWN = 10,
	DROP_NO_ENDPOINT = 11,
	DROP_ENDPOINT_GONE = 12,
	DROP_VIP_NO_BACKEND = 13,
	DROP_PORT_NO_BACKEND = 14,
	DROP_CT_FULL = 15,
	DROP_CT_COLLISION = 16,
	DROP_CT_INVALID = 17,
	DROP_FRAG_NO_FIRST = 18,
	DROP_VTEP_NO_KEY = 19,
	DROP_VTEP_PEER = 20,
	DROP_VTEP_VNI = 21,
	DROP_VTEP_SRC = 22,
	DROP_VTEP_DST = 23,
	DROP_MESH_NOT_PUBLISHED = 24,
	DROP_MESH_CLIENT = 25,
	DROP_GW_ISOLATION = 26,
	DROP_TTL_EXPIRED = 27,
	DROP_TOO_BIG = 28,
	DROP_HELPER_FAILED = 29,
	DROP_ICMP_BAD_INNER = 30,
	DROP_NOT_ALLOWED = 31,
	DROP_ENCRYPT_REQUIRED = 32,
	DROP_LOOPBACK_SRC = 33,
	DROP_CT_FLOOD = 34,
	DROP_RESOLVER_ONLY = 35,
	DROP_ASKER_GONE = 36,
	DROP_PROBE = 37,
	COUNT_OUTER_FRAG = 38, /* not dropped: travels as fragments of the outer packet */
};

/* What a program did with a frame; only recorded by test builds of the object (swn_test). */
enum test_action {
	ACT_NONE = 0,
	ACT_PEER = 1,     /* bpf_redirect_peer */
	ACT_EGRESS = 2,   /* bpf_redirect, out of a device */
	ACT_INGRESS = 3,  /* bpf_redirect with BPF_F_INGRESS */
	ACT_NEIGH = 4,    /* bpf_redirect_neigh */
	ACT_TUNNEL = 5,   /* tunnel key set, bpf_redirect to the VXLAN device */
};

/* ---- configuration and topology ---- */
struct conf {
	__u64 host_netns_cookie;
	__be32 node_addr;
	__u32 vx_if;
	__u32 host_if;  /* swn-host */
	__u32 hostp_if; /* swn-hostp */
	__be32 gw_pool; /* gateway addresses of all nodes come from here */
	__be32 gw_mask;
	__u32 features;
	__u32 trace;       /* 1 of `trace` drops goes to `events`; 0 = off */
	__u32 flow_budget; /* new flows per second and CPU; 0 = no limit */
	__u8 host_mac[6];  /* of swn-host */
	__be16 vxlan_port; /* frames to it leave their outer packet on the uplink; 0 = on the VXLAN device */
	__u32 pad;
};

struct iface {
	__u32 vni;
	__be32 addr;
	__be32 mask;
	__u8 mac[6]; /* of the task side; of the device itself for an uplink */
	__u16 flags; /* enum iface_flag */
	__u32 lidx;
};

struct ep_key {
	__u32 vni;
	__be32 addr;
};

struct ep {
	__u8 kind; /* enum ep_kind */
	__u8 state;
	__u16 flags;
	__u32 lidx;
	__u32 node;
	__u32 ifindex;
	__u32 svc;
	__be32 addr; /* echoes the key: hash elements may be recycled under a reader */
	__u8 mac[6];
	__u16 pad;
	__u32 generation;
};

struct peer {
	__u32 node;
	__u32 flags;
};

struct node {
	__be32 addr; /* outer address to send to */
	__be32 src;  /* own outer address, 0 = chosen by route */
	__u32 flags;
	__u32 mtu;   /* longest IP packet the tunnel there carries in one piece; 0 = unknown */
};

struct vni {
	__u32 flags; /* enum vni_flag */
};

/* ---- services ---- */
struct svc { /* sel, mg, mgl: base(32) | count(16) | tag(16), one aligned word each */
	__u64 sel; /* VIP slots */
	__u64 mg;  /* Maglev table of the mesh */
	__u64 mgl; /* Maglev table of local backends, used with PORT_LOCAL_PREF; 0 = none */
	__u32 vni;
	__be32 vip;
	__u32 flags; /* enum svc_flag */
	__u32 pad[7];
};

struct be {
	__u32 vni;
	__be32 addr;
	__u32 node;
	__u32 ifindex;
	__u32 lidx;
	__u8 mac[6];
	__u8 state; /* enum be_state */
	__u8 kind;  /* enum be_kind */
	__u32 generation;
};

struct port_key {
	__be32 addr; /* 0 = any address of the node */
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct port {
	__u32 svc;
	__be16 target_port;
	__u16 flags; /* enum port_flag */
};

struct mesh_key {
	__be32 gw_addr;
	__be16 port; /* target port */
	__u8 proto;
	__u8 pad;
};

struct net {
	__be32 addr;
	__be32 mask;
};

struct mesh_target { /* a published task of this node */
	__u32 ifindex;
	__u32 lidx;
	__u8 mac[6];
	__u16 nets;                          /* used entries of `net` */
	struct net net[SWN_MAX_SUBNETS];     /* the task's own overlay subnets */
};

struct asker { /* an overlay attachment as the resolver's answers find it */
	__u32 ifindex;
	__be32 addr;
	__u8 mac[6];
	__u16 pad;
};

struct allow_key { /* longest prefix match: prefixlen counts svc too (32 + n) */
	__u32 prefixlen;
	__u32 svc;
	__be32 addr;
};

/* ---- flows ---- */
struct ct_key {
	__u32 vni;
	__u32 node;
	__be32 src;
	__be32 dst;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 dir; /* enum ct_dir */
	__u16 pad;
};

/*
 * Meaning of xaddr:xport / caddr:cport per direction (ct_pair() derives the other half):
 *   VIP_FWD    x = backend                c unused
 *   VIP_REV    x = VIP                    c unused
 *   ENTRY_FWD  x = gateway address:port   c = client as the backend sees it
 *   ENTRY_REV, BACK_REV|LOCAL_ENTRY
 *              x = published address:port c = client as it called us
 *   BACK_FWD   x = gateway address:port   c = client as the task sees it
 *   BACK_REV   x unused                   c = client as the entry node sent it; node = entry node
 */
struct ct_val {
	__u32 be;
	__u32 svc;
	__be32 xaddr;
	__be32 caddr;
	__be16 xport;
	__be16 cport;
	__u32 node;
	__u32 ifindex; /* where the client is */
	__u8 mac[6];   /* next hop towards the client */
	__u16 flags;   /* enum ct_flag */
	__u32 expires; /* seconds, CLOCK_MONOTONIC_COARSE */
	__u32 created;
};

struct frag_key {
	__u32 vni;
	__be32 src;
	__be32 dst;
	__be16 id;
	__u8 proto;
	__u8 pad;
};

struct frag_val {
	__be16 sport;
	__be16 dport;
	__u32 time;
};

/* ---- sockets ---- */
struct sock_key {
	__u64 cookie;
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct sock_val {
	__be32 addr;
	__be16 port;
	__u16 pad;
	__u32 svc;
};

struct subnet {
	__be32 addr;
	__be32 mask;
	__u32 vni;
};

struct netns {
	__u32 n;
	struct subnet subnet[SWN_MAX_SUBNETS];
	__u32 flags;
};

/* ---- connectivity test ---- */
struct probe_header { /* behind the Ethernet header; padding follows */
	__u8 kind; /* enum probe_kind */
	__u8 pad[7];
	__u64 nonce; /* only its sender reads it */
	__u64 test;  /* all nodes know it */
};

struct probe { /* a frame this node waits for, by nonce */
	__u32 node; /* that it was sent to */
	__u32 pad;
	__u64 answered_ns; /* CLOCK_MONOTONIC; 0 = not yet */
};

/* ---- counters ---- */
struct counter {
	__u64 packets;
	__u64 bytes;
};

struct ep_stat {
	__u64 rx_packets; /* delivered to the task */
	__u64 rx_bytes;
	__u64 tx_packets; /* sent by the task */
	__u64 tx_bytes;
};

struct svc_stat {
	__u64 packets;
	__u64 bytes;
	__u64 flows;
	__u64 refused; /* no backend */
};

struct budget { /* per CPU, restarts each second */
	__u32 second;
	__u32 flows;
	__u32 replies;
	__u32 probes;
};

struct event {
	__u64 time_ns;
	__u32 reason; /* enum drop_reason */
	__u32 ifindex;
	__u32 vni;
	__be32 src;
	__be32 dst;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
	__u32 len;
};

/* ---- tests only ---- */
struct test_in {
	__u32 ifindex; /* stands for skb->ifindex */
	__u32 has_key;
	__u32 vni;
	__be32 remote;
};

struct test_out {
	__u64 reasons; /* bit n: counted as drop reason n */
	__u32 action;  /* enum test_action */
	__u32 ifindex;
	__u32 vni;
	__be32 remote;
};

#define SWN_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
SWN_SIZE(conf, 56);
SWN_SIZE(iface, 24);
SWN_SIZE(ep_key, 8);
SWN_SIZE(ep, 36);
SWN_SIZE(peer, 8);
SWN_SIZE(node, 16);
SWN_SIZE(vni, 4);
SWN_SIZE(svc, 64);
SWN_SIZE(be, 32);
SWN_SIZE(port_key, 8);
SWN_SIZE(port, 8);
SWN_SIZE(mesh_key, 8);
SWN_SIZE(mesh_target, 80);
SWN_SIZE(asker, 16);
SWN_SIZE(allow_key, 12);
SWN_SIZE(ct_key, 24);
SWN_SIZE(ct_val, 44);
SWN_SIZE(frag_key, 16);
SWN_SIZE(frag_val, 8);
SWN_SIZE(sock_key, 16);
SWN_SIZE(sock_val, 12);
SWN_SIZE(netns, 104);
SWN_SIZE(probe_header, 24);
SWN_SIZE(probe, 16);
SWN_SIZE(ep_stat, 32);
SWN_SIZE(svc_stat, 32);
SWN_SIZE(event, 40);

#endif /* SWN_ABI_H */

/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/* from_net.h: a frame out of the tunnel (walk B, mesh forward and mesh return). */
#ifndef SWN_FROM_NET_H
#define SWN_FROM_NET_H

#include "mesh.h"
#include "probe.h"

/* The sender must be the node the source is placed on, the destination must be here. */
static __noinline int net_overlay(struct __sk_buff *skb, struct pkt *p, __u32 vni, __u32 from)
{
	struct ep_key k = { .vni = vni, .addr = p->osrc };
	struct vni *net = bpf_map_lookup_elem(&vnis, &vni);
	struct hop h = {};
	struct ep *ep;

	if (!net)
		DROP(DROP_VTEP_VNI);
	if (net->flags & VNI_ENCRYPTED)
		DROP(DROP_ENCRYPT_REQUIRED);
	ep = bpf_map_lookup_elem(&eps, &k);
	if (!ep || ep->kind != EP_REMOTE || ep->node != from)
		DROP(DROP_VTEP_SRC);
	k.addr = p->odst;
	ep = bpf_map_lookup_elem(&eps, &k);
	if (ep && ep->kind == EP_GONE)
		DROP(DROP_ENDPOINT_GONE);
	if (!ep || ep->kind != EP_LOCAL || ep->addr != k.addr)
		DROP(DROP_VTEP_DST);
	h.vni = vni;
	h.ifindex = ep->ifindex;
	h.lidx = ep->lidx;
	__builtin_memcpy(h.mac, ep->mac, 6);
	return to_overlay(skb, p, &h);
}

/* From an entry node to a published task of this node. */
static __noinline int net_mesh_forward(struct __sk_buff *skb, struct pkt *p, __u32 from)
{
	struct mesh_key k = { .gw_addr = p->dst, .pad = 0 };
	struct conf *c = the_conf();
	struct mesh_target *t;
	struct xlate x = {};
	struct hop h = {};
	int rc;

	rc = frag_ports(p, VNI_MESH_FWD);
	if (rc)
		DROP(rc);
	k.port = p->dport;
	k.proto = p->proto;
	t = bpf_map_lookup_elem(&mesh_local, &k);
	if (!t)
		DROP(DROP_MESH_NOT_PUBLISHED);
	if (!c || !is_client(c, p->osrc) || !is_client(c, p->src))
		DROP(DROP_MESH_CLIENT);
	h.ifindex = t->ifindex;
	h.lidx = t->lidx;
	__builtin_memcpy(h.mac, t->mac, 6);
	rc = back_flow(p, from, &x);
	if (!rc)
		rc = apply(skb, p, &x);
	if (rc)
		DROP(rc);
	return to_hop(skb, &h, VNI_HOST);
}

/* From a backend's node to a client of this entry node. */
static __noinline int net_mesh_return(struct __sk_buff *skb, struct pkt *p, __u32 from)
{
	struct ct_val *v;
	struct ct_key k;
	int rc;

	rc = frag_ports(p, VNI_MESH_RET);
	if (rc)
		DROP(rc);
	ct_key_of(&k, p, VNI_HOST, from, CT_ENTRY_REV);
	v = bpf_map_lookup_elem(&ct, &k);
	if (!v)
		DROP(p->err ? DROP_ICMP_BAD_INNER : DROP_CT_INVALID);
	return mesh_reply(skb, p, &k, v);
}

static __always_inline int net_ip(struct __sk_buff *skb, __u32 vni, __u32 from)
{
	struct pkt p = {};
	int rc = parse(skb, &p);

	if (rc)
		DROP(rc);
	if (vni == VNI_MESH_FWD)
		return net_mesh_forward(skb, &p, from);
	if (vni == VNI_MESH_RET)
		return net_mesh_return(skb, &p, from);
	return net_overlay(skb, &p, vni, from);
}

SEC("classifier")
int sn_from_net(struct __sk_buff *skb)
{
	struct ether eth;
	struct peer *peer;
	__be32 remote = 0;
	__u32 vni = 0;
	int rc;

	start(skb);
	rc = tunnel_source(skb, &vni, &remote);
	if (rc)
		DROP(rc);
	peer = bpf_map_lookup_elem(&peers, &remote);
	if (!peer)
		DROP(DROP_VTEP_PEER);
	if (load_ether(skb, &eth))
		DROP(DROP_MALFORMED);
	if (vni == VNI_PROBE)
		return net_probe(skb, &eth, peer->node);
	if (is_vlan(skb, &eth))
		DROP(DROP_VLAN);
	if (eth.proto == bpf_htons(ETH_P_IPV6))
		DROP(DROP_IPV6_OFF);
	if (eth.proto != bpf_htons(ETH_P_IP))
		DROP(DROP_ETHERTYPE);
	return net_ip(skb, vni, peer->node);
}

#endif /* SWN_FROM_NET_H */

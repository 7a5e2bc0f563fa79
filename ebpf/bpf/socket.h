/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */
/*
 * socket.h: load balancing when a process connects (walks D and G): no state per packet. Covers
 * all processes of the machine, so each program first asks whose network namespace this is. The
 * hooks never fail a call: what they cannot translate, the packet path answers.
 */
#ifndef SWN_SOCKET_H
#define SWN_SOCKET_H

#include "guard.h"
#include "select.h"

#define MAPPED_PREFIX bpf_htonl(0x0000ffff)

struct sock_dst {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
	__u32 svc;
};

/* TCP spreads at random; a UDP socket stays with its backend when it sends again. */
static __always_inline __u32 sock_hash(struct bpf_sock_addr *ctx, __u8 proto)
{
	__u64 cookie;

	if (proto == IPPROTO_TCP)
		return bpf_get_prandom_u32();
	cookie = bpf_get_socket_cookie(ctx);
	return mix(mix(0x73776e02, cookie), cookie >> 32);
}

/* The network of the sandbox an address belongs to, 0 if none. */
static __always_inline __u32 sock_vni(const struct netns *ns, __be32 addr)
{
	int i;

	for (i = 0; i < SWN_MAX_SUBNETS; i++) {
		if (i >= ns->n)
			break;
		if (in_net(addr, ns->subnet[i].addr, ns->subnet[i].mask))
			return ns->subnet[i].vni;
	}
	return 0;
}

/* A task calls a VIP of one of its networks. */
static __noinline int sock_vip(struct bpf_sock_addr *ctx, const struct netns *ns,
			       struct sock_dst *d)
{
	struct ep_key k = { .vni = sock_vni(ns, d->addr), .addr = d->addr };
	struct ep *ep;
	struct svc *s;
	struct be *b;
	__u32 id;

	if (!k.vni)
		return 0;
	ep = bpf_map_lookup_elem(&eps, &k);
	if (!ep || ep->kind != EP_VIP)
		return 0;
	d->svc = ep->svc;
	s = bpf_map_lookup_elem(&svc, &d->svc);
	if (!s)
		return 0;
	id = pick(read_range(&s->sel), sock_hash(ctx, d->proto));
	b = bpf_map_lookup_elem(&backends, &id);
	if (!b)
		return 0;
	d->addr = b->addr;
	return 1;
}

static __always_inline struct port *sock_port(const struct sock_dst *d)
{
	struct port_key k = { .addr = d->addr, .port = d->port, .proto = d->proto, .pad = 0 };
	struct port *port = bpf_map_lookup_elem(&ports, &k);

	if (port)
		return port;
	k.addr = 0;
	return bpf_map_lookup_elem(&ports, &k);
}

/* A host process calls a published port on an address of the host. */
static __noinline int sock_host(struct bpf_sock_addr *ctx, struct sock_dst *d)
{
	__be32 addr = d->addr;
	struct port *port;
	struct svc *s;
	struct be *b;
	__u32 id;

	if (!is_loopback(addr) && !bpf_map_lookup_elem(&local_addrs, &addr))
		return 0;
	port = sock_port(d);
	if (!port)
		return 0;
	d->svc = port->svc;
	s = bpf_map_lookup_elem(&svc, &d->svc);
	if (!s)
		return 0;
	id = pick(read_range(&s->mg), sock_hash(ctx, d->proto));
	b = bpf_map_lookup_elem(&backends, &id);
	if (!b)
		return 0;
	if (b->node) {
		d->addr = bpf_htonl(SWN_MESH_SELF);
	} else {
		d->addr = b->addr;
		d->port = port->target_port;
	}
	return 1;
}

/* Remembers what the process asked for. */
static __always_inline void sock_remember(struct bpf_sock_addr *ctx, const struct sock_dst *to,
				     const struct sock_dst *asked)
{
	struct sock_key k = { .cookie = bpf_get_socket_cookie(ctx), .addr = to->addr,
			      .port = to->port, .proto = to->proto, .pad = 0 };
	struct sock_val v = { .addr = asked->addr, .port = asked->port, .pad = 0,
			      .svc = to->svc };
	struct sock_val *old = bpf_map_lookup_elem(&sock_rev, &k);

	if (old && old->addr == v.addr && old->port == v.port && old->svc == v.svc)
		return;
	bpf_map_update_elem(&sock_rev, &k, &v, BPF_ANY);
}

/* Translates a destination; 0 if it stays. */
static __noinline int sock_forward(struct bpf_sock_addr *ctx, struct sock_dst *d)
{
	struct sock_dst asked = *d;
	struct conf *c = the_conf();
	struct netns *ns;
	__u64 cookie;
	int done;

	if (d->proto != IPPROTO_TCP && d->proto != IPPROTO_UDP)
		return 0;
	cookie = bpf_get_netns_cookie(ctx);
	ns = bpf_map_lookup_elem(&netns, &cookie);
	if (ns)
		done = sock_vip(ctx, ns, d);
	else if (c && c->host_netns_cookie == cookie)
		done = sock_host(ctx, d);
	else
		return 0;
	if (done)
		sock_remember(ctx, d, &asked);
	return done;
}

/* Translates a source back, as long as the service exists; 0 if it stays. */
static __noinline int sock_reverse(struct bpf_sock_addr *ctx, struct sock_dst *d)
{
	struct sock_key k = { .cookie = bpf_get_socket_cookie(ctx), .addr = d->addr,
			      .port = d->port, .proto = d->proto, .pad = 0 };
	struct sock_val *v = bpf_map_lookup_elem(&sock_rev, &k);
	struct svc *s;
	__u32 index;

	if (!v)
		return 0;
	index = v->svc;
	s = bpf_map_lookup_elem(&svc, &index);
	if (!s || !(s->flags & SVC_USED))
		return 0;
	d->addr = v->addr;
	d->port = v->port;
	return 1;
}

static __always_inline void sock_read4(struct bpf_sock_addr *ctx, struct sock_dst *d)
{
	__builtin_memset(d, 0, sizeof(*d));
	d->addr = ctx->user_ip4;
	d->port = ctx->user_port;
	d->proto = ctx->protocol;
}

/* Reads ::ffff:a.b.c.d; 0 for every other address. */
static __always_inline int sock_read6(struct bpf_sock_addr *ctx, struct sock_dst *d)
{
	__builtin_memset(d, 0, sizeof(*d));
	if (ctx->user_ip6[0] || ctx->user_ip6[1] || ctx->user_ip6[2] != MAPPED_PREFIX)
		return 0;
	d->addr = ctx->user_ip6[3];
	d->port = ctx->user_port;
	d->proto = ctx->protocol;
	return 1;
}

static __always_inline int sock_call4(struct bpf_sock_addr *ctx)
{
	struct sock_dst d;

	sock_read4(ctx, &d);
	if (sock_forward(ctx, &d)) {
		ctx->user_ip4 = d.addr;
		ctx->user_port = d.port;
	}
	return 1;
}

static __always_inline int sock_call6(struct bpf_sock_addr *ctx)
{
	struct sock_dst d;

	if (sock_read6(ctx, &d) && sock_forward(ctx, &d)) {
		ctx->user_ip6[3] = d.addr;
		ctx->user_port = d.port;
	}
	return 1;
}

static __always_inline int sock_seen4(struct bpf_sock_addr *ctx)
{
	struct sock_dst d;

	sock_read4(ctx, &d);
	if (sock_reverse(ctx, &d)) {
		ctx->user_ip4 = d.addr;
		ctx->user_port = d.port;
	}
	return 1;
}

static __always_inline int sock_seen6(struct bpf_sock_addr *ctx)
{
	struct sock_dst d;

	if (sock_read6(ctx, &d) && sock_reverse(ctx, &d)) {
		ctx->user_ip6[3] = d.addr;
		ctx->user_port = d.port;
	}
	return 1;
}

#define SOCK_PROGRAM(hook, body)                              \
	SEC("cgroup/" #hook)                                  \
	int sn_##hook(struct bpf_sock_addr *ctx)              \
	{                                                     \
		return body(ctx);                             \
	}

SOCK_PROGRAM(connect4, sock_call4)
SOCK_PROGRAM(connect6, sock_call6)
SOCK_PROGRAM(sendmsg4, sock_call4)
SOCK_PROGRAM(sendmsg6, sock_call6)
SOCK_PROGRAM(recvmsg4, sock_seen4)
SOCK_PROGRAM(recvmsg6, sock_seen6)
SOCK_PROGRAM(getpeername4, sock_seen4)
SOCK_PROGRAM(getpeername6, sock_seen6)

/* Without this the LRU fills with dead sockets and evicts living ones. */
SEC("cgroup/sock_release")
int sn_sock_release(struct bpf_sock *sk)
{
	struct sock_key k = { .cookie = bpf_get_socket_cookie(sk), .addr = sk->dst_ip4,
			      .port = sk->dst_port, .proto = sk->protocol, .pad = 0 };

	if (k.addr)
		bpf_map_delete_elem(&sock_rev, &k);
	return 1;
}

#endif /* SWN_SOCKET_H */

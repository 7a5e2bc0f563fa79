#include "maps.h"
SEC("classifier") int sn_from_task(struct __sk_buff *skb) { __u32 z = 0; struct conf *c = bpf_map_lookup_elem(&conf, &z); return c ? swn_test + swn_tunnel_src : -1; }
char _license[] SEC("license") = "Dual BSD/GPL";

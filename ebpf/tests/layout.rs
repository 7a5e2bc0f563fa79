//! The BTF of the compiled object against the Rust mirror: names, offsets, sizes, enums, maps.
//! No privileges needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeMap;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use swarmnet_ebpf::abi::{ENUMS, STRUCTS};
use swarmnet_ebpf::map::{EVENTS, MapId, MapType};
use swarmnet_ebpf::pin::abi_hash;
use swarmnet_ebpf::program::{Hook, OBJECT};

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;

/// One BTF type: its header, and the words that follow it.
#[derive(Debug, Clone)]
struct Type {
    name: String,
    kind: u32,
    /// Size in bytes or referenced type, by kind.
    size_or_type: u32,
    extra: Vec<u32>,
}

/// All types; ids start at 1, element 0 is void.
struct Btf {
    types: Vec<Type>,
    strings: Vec<u8>,
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect()
}

impl Btf {
    fn of_object() -> Self {
        let file = object::File::parse(OBJECT).unwrap();
        let data = file.section_by_name(".BTF").expect("compiled with -g").data().unwrap();
        let header = words(&data[..24]);
        let at = |offset: u32| header[1] as usize + offset as usize;
        let strings = data[at(header[4])..at(header[4]) + header[5] as usize].to_vec();
        let mut btf = Self { types: Vec::new(), strings };
        let void = Type { name: "void".into(), kind: 0, size_or_type: 0, extra: Vec::new() };
        btf.types.push(void);
        let mut rest = &words(&data[at(header[2])..at(header[2]) + header[3] as usize])[..];
        while let [name, info, size_or_type, tail @ ..] = rest {
            let (kind, count) = (info >> 24 & 31, (info & 0xffff) as usize);
            let len = match kind {
                INT | VAR | DECL_TAG => 1,
                ARRAY => 3,
                STRUCT | 5 | DATASEC => 3 * count,
                ENUM | FUNC_PROTO => 2 * count,
                _ => 0,
            };
            let name = btf.string(*name);
            let extra = tail[..len].to_vec();
            btf.types.push(Type { name, kind, size_or_type: *size_or_type, extra });
            rest = &tail[len..];
        }
        btf
    }

    fn string(&self, at: u32) -> String {
        let bytes = &self.strings[at as usize..];
        let end = bytes.iter().position(|b| *b == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    fn get(&self, id: u32) -> &Type {
        &self.types[id as usize]
    }

    fn size(&self, id: u32) -> usize {
        let ty = self.get(id);
        match ty.kind {
            ARRAY => self.size(ty.extra[0]) * ty.extra[2] as usize,
            PTR => 8,
            TYPEDEF | VOLATILE | CONST => self.size(ty.size_or_type),
            _ => ty.size_or_type as usize,
        }
    }

    fn named(&self, kind: u32, name: &str) -> &Type {
        let found = self.types.iter().find(|t| t.kind == kind && t.name == name);
        found.unwrap_or_else(|| panic!("{name} is not in the object's BTF"))
    }

    /// Name, byte offset and type of each member.
    fn members(&self, ty: &Type) -> Vec<(String, usize, u32)> {
        let member = |m: &[u32]| (self.string(m[0]), m[2] as usize / 8, m[1]);
        ty.extra.chunks(3).map(member).collect()
    }

    /// The attributes of a map definition: member → number, or type id for key and value.
    fn map(&self, name: &str) -> BTreeMap<String, u32> {
        let var = self.named(VAR, name);
        let members = self.members(self.get(var.size_or_type));
        let value = |(name, _, ptr): (String, usize, u32)| {
            let target = self.get(ptr).size_or_type;
            let ty = self.get(target);
            (name, if ty.kind == ARRAY { ty.extra[2] } else { target })
        };
        members.into_iter().map(value).collect()
    }
}

#[test]
fn every_struct_has_the_same_members_at_the_same_offsets() {
    let btf = Btf::of_object();
    for layout in STRUCTS {
        let ty = btf.named(STRUCT, layout.name);
        assert_eq!(ty.size_or_type as usize, layout.size, "size of {}", layout.name);
        let theirs: Vec<(String, usize, usize)> =
            btf.members(ty).into_iter().map(|(n, at, id)| (n, at, btf.size(id))).collect();
        let ours: Vec<(String, usize, usize)> =
            layout.fields.iter().map(|(n, at, size)| ((*n).to_owned(), *at, *size)).collect();
        assert_eq!(theirs, ours, "members of {}", layout.name);
    }
}

#[test]
fn every_enum_has_the_same_constants() {
    let btf = Btf::of_object();
    let all = btf.named(STRUCT, "abi_enums");
    assert_eq!(btf.members(all).len(), ENUMS.len(), "enums of abi.h and of Rust");
    for layout in ENUMS {
        let ty = btf.named(ENUM, layout.name);
        let theirs: Vec<(String, u32)> =
            ty.extra.chunks(2).map(|v| (btf.string(v[0]), v[1])).collect();
        let ours: Vec<(String, u32)> =
            layout.values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        assert_eq!(theirs, ours, "constants of {}", layout.name);
    }
}

#[test]
fn every_map_has_the_same_type_and_sizes() {
    let btf = Btf::of_object();
    for map in MapId::ALL {
        let (spec, theirs) = (map.spec(), btf.map(map.name()));
        assert_eq!(theirs["type"], spec.kind as u32, "type of {}", spec.name);
        assert_eq!(theirs["map_flags"], spec.flags, "flags of {}", spec.name);
        assert_eq!(theirs["max_entries"], spec.max_entries, "size of {}", spec.name);
        assert_eq!(theirs["pinning"], 1, "{} is pinned by name", spec.name);
        let (key, value) = (btf.size(theirs["key"]), btf.size(theirs["value"]));
        assert_eq!(key, spec.key_size as usize, "key of {}", spec.name);
        assert_eq!(value, spec.value_size as usize, "value of {}", spec.name);
    }
    assert_eq!(btf.map(EVENTS)["type"], MapType::Ringbuf as u32);
}

#[test]
fn no_map_of_the_object_is_unknown_to_rust() {
    let btf = Btf::of_object();
    let maps = btf.named(DATASEC, ".maps");
    let mut theirs: Vec<&str> =
        maps.extra.chunks(3).map(|var| btf.get(var[0]).name.as_str()).collect();
    let mut ours: Vec<&str> = MapId::ALL.iter().map(|map| map.name()).collect();
    ours.extend([EVENTS, "test_in", "test_out"]);
    theirs.sort_unstable();
    ours.sort_unstable();
    assert_eq!(theirs, ours);
}

#[test]
fn every_program_is_in_the_section_that_both_loaders_accept() {
    let file = object::File::parse(OBJECT).unwrap();
    let section = |program: &str| {
        let symbol = file.symbols().find(|s| s.name() == Ok(program))?;
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        section.name().ok().map(str::to_owned)
    };
    for hook in Hook::ALL {
        assert_eq!(section(hook.program()).as_deref(), Some("classifier"), "{hook:?}");
    }
    for name in ["connect", "sendmsg", "recvmsg", "getpeername"] {
        for version in [4, 6] {
            let want = format!("cgroup/{name}{version}");
            assert_eq!(section(&format!("sn_{name}{version}")), Some(want));
        }
    }
    assert_eq!(section("sn_sock_release").as_deref(), Some("cgroup/sock_release"));
}

#[test]
fn the_abi_hash_is_short_and_stable() {
    assert_eq!(abi_hash(), abi_hash());
    assert!(abi_hash().len() == 16 && abi_hash().bytes().all(|b| b.is_ascii_hexdigit()));
}

/// The rules of the sources that no compiler checks.
#[test]
fn the_sources_drop_only_with_a_reason_and_stay_small() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let shots = text.matches("TC_ACT_SHOT").count();
        let allowed = usize::from(path.ends_with("guard.h"));
        assert_eq!(shots, allowed, "{}: drop with DROP(reason)", path.display());
        let mut start = 0;
        for (number, line) in text.lines().enumerate() {
            match line {
                "{" => start = number,
                "}" => assert!(number - start <= 70, "{}:{start}: long", path.display()),
                _ => {}
            }
        }
    }
}

//! Pure: byte order newtypes, the packed slot range, the promise of a kernel layout, and the macros that write both the
//! structs of `abi` and their descriptions for the layout test.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 address or mask in network byte order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Be32([u8; 4]);

/// A port (or IP id) in network byte order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Be16([u8; 2]);

impl Be32 {
    /// The address 0.0.0.0, in keys "any".
    pub const ZERO: Self = Self([0; 4]);

    /// Returns the network-order form of an address.
    #[must_use]
    pub const fn new(addr: Ipv4Addr) -> Self {
        Self(addr.octets())
    }

    /// Returns the netmask of a prefix of `bits` bits; more than 32 counts as 32.
    #[must_use]
    pub const fn mask(bits: u8) -> Self {
        let bits = if bits > 32 { 32 } else { bits as u32 };
        let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
        Self(mask.to_be_bytes())
    }

    /// Returns the address.
    #[must_use]
    pub const fn addr(self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

impl Be16 {
    /// Returns the network-order form of a port in host order.
    #[must_use]
    pub const fn new(port: u16) -> Self {
        Self(port.to_be_bytes())
    }

    /// Returns the port in host order.
    #[must_use]
    pub const fn port(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

impl From<Ipv4Addr> for Be32 {
    fn from(addr: Ipv4Addr) -> Self {
        Self::new(addr)
    }
}

impl From<u16> for Be16 {
    fn from(port: u16) -> Self {
        Self::new(port)
    }
}

impl fmt::Debug for Be32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr().fmt(f)
    }
}

impl fmt::Display for Be32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr().fmt(f)
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port().fmt(f)
    }
}

impl fmt::Display for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.port().fmt(f)
    }
}

/// A type the kernel and we agree on byte for byte.
///
/// # Safety
/// Every bit pattern of `size_of::<Self>()` bytes is a valid value and there is no padding.
#[expect(unsafe_code, reason = "a promise about memory layout")]
pub unsafe trait Plain:
    Copy + Default + fmt::Debug + PartialEq + Send + Sync + 'static
{
    /// Returns the bytes as the kernel sees them.
    fn as_bytes(&self) -> &[u8] {
        let start = std::ptr::from_ref(self).cast::<u8>();
        // SAFETY: `self` is valid for size_of::<Self>() bytes and has no padding (see the trait).
        unsafe { std::slice::from_raw_parts(start, size_of::<Self>()) }
    }

    /// Returns the value in `bytes`, or `None` if the length is wrong.
    #[must_use]
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != size_of::<Self>() {
            return None;
        }
        // SAFETY: the length fits and every bit pattern is valid (see the trait).
        Some(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

#[expect(unsafe_code, reason = "integers have no padding and no invalid value")]
// SAFETY: a plain integer.
unsafe impl Plain for u32 {}
#[expect(unsafe_code, reason = "integers have no padding and no invalid value")]
// SAFETY: a plain integer.
unsafe impl Plain for u64 {}
#[expect(unsafe_code, reason = "a transparent byte array")]
// SAFETY: transparent over [u8; 4].
unsafe impl Plain for Be32 {}

/// A range of slots with a debugging tag, packed into one word of [`crate::abi::Service`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotRange {
    /// First slot.
    pub base: u32,
    /// Number of slots; 0 means no backend.
    pub count: u16,
    /// Counts rewrites, for debugging only.
    pub tag: u16,
}

impl SlotRange {
    /// Returns the word as BPF reads it.
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.base as u64) | ((self.count as u64) << 32) | ((self.tag as u64) << 48)
    }

    /// Returns the range in a word.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the shifts select exactly these bits")]
    pub const fn unpack(word: u64) -> Self {
        Self { base: word as u32, count: (word >> 32) as u16, tag: (word >> 48) as u16 }
    }
}

/// One member of a struct: name, offset and size in bytes.
pub type Field = (&'static str, usize, usize);

/// Layout of one struct, comparable with BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Name of the struct in `abi.h`.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Members in order.
    pub fields: &'static [Field],
}

/// Numeric constants of one C enum: name in `abi.h`, (constant, value) in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnumLayout {
    /// Name of the enum in `abi.h`.
    pub name: &'static str,
    /// Constants with their C names.
    pub values: &'static [(&'static str, u32)],
}

pub(crate) const fn field_sum(fields: &[Field]) -> usize {
    let (mut sum, mut i) = (0, 0);
    while i < fields.len() {
        sum += fields[i].2;
        i += 1;
    }
    sum
}

macro_rules! abi_structs {
    ($($(#[$doc:meta])* $name:ident = $c:literal {
        $($(#[$fdoc:meta])* $field:ident: $type:ty,)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
            #[repr(C)]
            pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }

            impl $name {
                /// Layout for the comparison with BTF.
                pub const LAYOUT: Layout = Layout {
                    name: $c,
                    size: size_of::<Self>(),
                    fields: &[$((
                        stringify!($field),
                        std::mem::offset_of!(Self, $field),
                        size_of::<$type>(),
                    ),)*],
                };
            }

            const _: () = assert!(
                field_sum($name::LAYOUT.fields) == size_of::<$name>(),
                "padding must be explicit"
            );

            #[expect(unsafe_code, reason = "the assertion above excludes padding")]
            // SAFETY: repr(C), integers and arrays of such structs only, no padding.
            unsafe impl Plain for $name {}
        )*

        /// Every struct shared with C.
        pub const STRUCTS: &[Layout] = &[$($name::LAYOUT,)*];
    };
}

macro_rules! abi_enums {
    ($($c:literal as $type:ty { $($(#[$doc:meta])* $name:ident = $value:expr,)* })*) => {
        $($(
            #[doc = concat!("`", stringify!($name), "` of enum `", $c, "`.")]
            $(#[$doc])*
            pub const $name: $type = $value;
        )*)*

        /// Every enum shared with C.
        pub const ENUMS: &[EnumLayout] = &[$(EnumLayout {
            name: $c,
            values: &[$((stringify!($name), $value),)*],
        },)*];
    };
}

pub(crate) use {abi_enums, abi_structs};

//! Offsets from the running kernel's BTF, resolved before anything is loaded.

use std::fs;

use btfparse::{Offset as BtfOffset, Readable, TypeInformation, TypeVariant};
use supervisor_ebpf::{OFFSETS, Offset, OffsetKind};

use super::KernelError;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The value of every global of [`OFFSETS`], in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offsets(Vec<(&'static str, u32)>);

impl Offsets {
    /// Resolves all of them from the running kernel.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoBtf`], [`KernelError::BadBtf`], or the first type or member that is missing.
    pub fn of_running_kernel() -> Result<Self, KernelError> {
        let data = fs::read(VMLINUX).map_err(|source| KernelError::NoBtf { path: VMLINUX, source })?;
        resolve(data)
    }

    /// Global names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &u32)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The value of one global.
    #[must_use]
    pub fn get(&self, global: &str) -> Option<u32> {
        self.0.iter().find(|(name, _)| *name == global).map(|(_, value)| *value)
    }
}

/// Resolves all of [`OFFSETS`] from the contents of a BTF file.
///
/// # Errors
///
/// [`KernelError::BadBtf`], or the first type or member that is missing.
pub fn resolve(btf: Vec<u8>) -> Result<Offsets, KernelError> {
    let types =
        TypeInformation::new(&Bytes(btf)).map_err(|error| KernelError::BadBtf(error.message().to_owned()))?;
    OFFSETS
        .iter()
        .map(|offset| Ok((offset.global, resolve_one(&types, offset)?)))
        .collect::<Result<_, _>>()
        .map(Offsets)
}

/// A BTF file in memory.
struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let end = usize::try_from(offset).ok().and_then(|start| {
            let end = start.checked_add(buffer.len())?;
            buffer.copy_from_slice(self.0.get(start..end)?);
            Some(end)
        });
        end.map(|_| ()).ok_or_else(|| {
            btfparse::Error::new(btfparse::ErrorKind::IOError, "the file ends in the middle of an entry")
        })
    }
}

fn resolve_one(types: &TypeInformation, offset: &Offset) -> Result<u32, KernelError> {
    let missing = || KernelError::MissingMember { type_name: offset.type_name, member: offset.member };
    let id = types.id_of(offset.type_name).ok_or(KernelError::MissingType(offset.type_name))?;
    match offset.kind {
        OffsetKind::Size => {
            types.size_of(id).map(|size| size as u32).map_err(|_| KernelError::MissingType(offset.type_name))
        }
        OffsetKind::Field => match member(types, id, offset.member).ok_or_else(missing)? {
            BtfOffset::ByteOffset(bytes) => Ok(bytes),
            BtfOffset::BitOffsetAndSize(..) => Err(missing()),
        },
        OffsetKind::Bit => match member(types, id, offset.member).ok_or_else(missing)? {
            BtfOffset::BitOffsetAndSize(bits, _) => Ok(bits),
            BtfOffset::ByteOffset(_) => Err(missing()),
        },
        OffsetKind::Enumerator => Ok(enumerator(types, id, offset.member).unwrap_or(u32::MAX)),
        OffsetKind::Arguments => arguments(types, id).ok_or(KernelError::MissingType(offset.type_name)),
    }
}

/// The offset of the first of the alternatives that exists.
fn member(types: &TypeInformation, id: u32, alternatives: &str) -> Option<BtfOffset> {
    alternatives.split('|').find_map(|path| types.offset_of(id, path).ok()).map(|(_, offset)| offset)
}

fn enumerator(types: &TypeInformation, id: u32, name: &str) -> Option<u32> {
    let TypeVariant::Enum(found) = types.from_id(id)? else { return None };
    found.named_value_list().iter().find(|value| value.name == name).map(|value| match value.value {
        btfparse::Integer32Value::Signed(value) => value as u32,
        btfparse::Integer32Value::Unsigned(value) => value,
    })
}

/// Arguments of a `typedef void (*btf_trace_NAME)(void *, …)` beyond the first.
fn arguments(types: &TypeInformation, id: u32) -> Option<u32> {
    let TypeVariant::Typedef(typedef) = types.from_id(id)? else { return None };
    let TypeVariant::Ptr(pointer) = types.from_id(*typedef.tid())? else { return None };
    let TypeVariant::FuncProto(prototype) = types.from_id(*pointer.tid())? else { return None };
    (prototype.parameter_list().len() as u32).checked_sub(1)
}

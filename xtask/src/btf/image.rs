//! Reads the kernel in a bzImage: its banner and its BTF.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

// Fields of the setup header (Documentation/arch/x86/boot.rst).
const SETUP_SECTS: usize = 0x1f1;
const KERNEL_VERSION: usize = 0x20e;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;

/// The first bytes of a payload, and the command that unpacks it.
const PACKED: [(&[u8], [&str; 2]); 2] =
    [(b"\xfd7zXZ\0", ["xz", "-dc"]), (b"\x28\xb5\x2f\xfd", ["zstd", "-dc"])];

/// The kernel's banner: first its release, then the person who built it and the time.
pub(crate) fn banner(image: &[u8]) -> Option<&str> {
    let place = number(image, KERNEL_VERSION, 2)? + SECTOR;
    image.get(place..)?.split(|&byte| byte == 0).next().and_then(|text| str::from_utf8(text).ok())
}

/// The section `.BTF` of the kernel in the image.
pub(crate) fn btf(image: &[u8]) -> Result<Vec<u8>> {
    let kernel = unpack(payload(image).context("this is no bzImage")?)?;
    let file = object::File::parse(&*kernel).context("the kernel in the image is no ELF file")?;
    let section =
        file.section_by_name(".BTF").context("this kernel was built without CONFIG_DEBUG_INFO_BTF")?;
    Ok(section.data()?.to_vec())
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    let setup = (number(image, SETUP_SECTS, 1)? + 1) * SECTOR;
    let start = setup + number(image, PAYLOAD_OFFSET, 4)?;
    image.get(start..start + number(image, PAYLOAD_LENGTH, 4)?)
}

/// Unpacks the payload. Its last four bytes are the unpacked size.
fn unpack(payload: &[u8]) -> Result<Vec<u8>> {
    let (packed, size) = payload.split_last_chunk().context("the image has no payload")?;
    let packing = PACKED.into_iter().find(|(magic, _)| packed.starts_with(magic));
    let (_, [program, option]) = packing.context("the kernel is packed neither by xz nor by zstd")?;
    let mut command = Command::new(program);
    command.arg(option).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let mut stdin = child.stdin.take().with_context(|| format!("{program} has no pipe"))?;
    let output = thread::scope(|scope| {
        // A failed write is ignored: then the program fails too, and its message says why.
        scope.spawn(move || stdin.write_all(packed));
        child.wait_with_output()
    })?;
    if !output.status.success() || output.stdout.len() != u32::from_le_bytes(*size) as usize {
        bail!("{program} cannot unpack the kernel: {}, {} bytes", output.status, output.stdout.len());
    }
    Ok(output.stdout)
}

fn number(image: &[u8], place: usize, size: usize) -> Option<usize> {
    let bytes = image.get(place..place + size)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image as a boot loader sees it: two sectors, and the payload 16 bytes after them.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR + 16];
        image[SETUP_SECTS] = 1;
        image[KERNEL_VERSION..][..2].copy_from_slice(&0x150u16.to_le_bytes());
        image[PAYLOAD_OFFSET..][..4].copy_from_slice(&16u32.to_le_bytes());
        image[PAYLOAD_LENGTH..][..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image[0x350..][..13].copy_from_slice(b"6.1.0-56 of a");
        image.extend(payload);
        image.extend(b"what follows");
        image
    }

    #[test]
    fn the_header_locates_the_banner_and_the_payload() {
        let image = image(b"kernel");
        assert_eq!(banner(&image), Some("6.1.0-56 of a"));
        assert_eq!(payload(&image), Some(&b"kernel"[..]));
        assert_eq!((banner(&image[..100]), payload(&image[..100])), (None, None));
    }

    #[test]
    fn an_image_that_cannot_be_unpacked_is_an_error() {
        let error = |payload: &[u8]| btf(&image(payload)).unwrap_err().to_string();
        assert_eq!(btf(b"MZ").unwrap_err().to_string(), "this is no bzImage");
        assert_eq!(error(b"abc"), "the image has no payload");
        assert_eq!(error(b"\x1f\x8b\x08packed"), "the kernel is packed neither by xz nor by zstd");
    }
}

//! Sixteen bytes at a time, with WebAssembly's 128-bit vectors, which the engine makes the machine's own. Metering counts a vector
//! instruction as it counts another. Elsewhere than on wasm32 the same is done a byte at a time.

/// Place of the first byte with this value.
///
/// ```
/// use lnic_lambda::simd::find;
/// let text = b"GET /index.html HTTP/1.1\r\n";
/// assert_eq!((find(text, b'\r'), find(text, b'?')), (Some(24), None));
/// ```
#[must_use]
pub fn find(bytes: &[u8], value: u8) -> Option<usize> {
    let done = vector::find(bytes, value);
    match done {
        Ok(at) => Some(at),
        Err(done) => bytes[done..].iter().position(|byte| *byte == value).map(|at| done + at),
    }
}

/// Grey of a pixel, red, green and blue: luma of ITU-R 601, as Pillow's `convert("L")` has it.
///
/// ```
/// use lnic_lambda::simd::luma;
/// assert_eq!((luma(255, 255, 255), luma(255, 0, 0), luma(0, 0, 0)), (255, 76, 0));
/// ```
#[must_use]
pub const fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((red as u32 * RED + green as u32 * GREEN + blue as u32 * BLUE + HALF) >> 16) as u8
}

/// Makes grey pixels, a byte each, of RGBA ones, in place: they lie at the beginning of `pixels` afterwards. Returns how many there are.
///
/// ```
/// use lnic_lambda::simd::rgba_to_grey;
/// let mut pixels = [255, 255, 255, 0, 255, 0, 0, 0];
/// assert_eq!(rgba_to_grey(&mut pixels), 2);
/// assert_eq!(pixels[..2], [255, 76]);
/// ```
pub fn rgba_to_grey(pixels: &mut [u8]) -> usize {
    let count = pixels.len() / 4;
    for at in vector::rgba_to_grey(pixels)..count {
        pixels[at] = luma(pixels[4 * at], pixels[4 * at + 1], pixels[4 * at + 2]);
    }
    count
}

const RED: u32 = 19_595;
const GREEN: u32 = 38_470;
const BLUE: u32 = 7_471;
const HALF: u32 = 0x8000;

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod vector {
    use super::{BLUE, GREEN, HALF, RED};
    use core::arch::wasm32::{
        i16x8_narrow_i32x4, i32x4_add, i32x4_dot_i16x8, i32x4_splat, u32x4_shr, v128, v128_and, v128_load,
        v128_store,
    };
    use core::arch::wasm32::{i8x16_bitmask, u8x16_eq, u8x16_narrow_i16x8, u8x16_splat};

    /// Where it is, or how many bytes it is not among.
    pub(super) fn find(bytes: &[u8], value: u8) -> Result<usize, usize> {
        let wanted = u8x16_splat(value);
        let blocks = bytes.chunks_exact(16);
        let done = bytes.len() - blocks.remainder().len();
        for (at, block) in blocks.enumerate() {
            // SAFETY: a block is 16 bytes, and vectors are loaded at any address.
            let block = unsafe { v128_load(block.as_ptr().cast::<v128>()) };
            let found = i8x16_bitmask(u8x16_eq(block, wanted));
            if found != 0 {
                return Ok(16 * at + found.trailing_zeros() as usize);
            }
        }
        Err(done)
    }

    /// Greys sixteen pixels at a time; returns how many are done.
    pub(super) fn rgba_to_grey(pixels: &mut [u8]) -> usize {
        let count = pixels.len() / 4 / 16 * 16;
        let base = pixels.as_mut_ptr();
        for at in (0..count).step_by(16) {
            // SAFETY: 64 bytes from 4 × at lie within the pixels, as 4 × count bytes do; 16 bytes at `at` lie in those that are read already.
            unsafe {
                let from = base.add(4 * at);
                let four = |at: usize| luma_4(v128_load(from.add(16 * at).cast::<v128>()));
                let first = i16x8_narrow_i32x4(four(0), four(1));
                let second = i16x8_narrow_i32x4(four(2), four(3));
                v128_store(base.add(at).cast::<v128>(), u8x16_narrow_i16x8(first, second));
            }
        }
        count
    }

    /// Grey of four pixels, one in each 32-bit lane.
    fn luma_4(rgba: v128) -> v128 {
        // Green's weight is too large for a signed 16-bit lane: twice the green, half the weight.
        let red_blue = v128_and(rgba, i32x4_splat(0x00ff_00ff));
        let twice_green = v128_and(u32x4_shr(rgba, 7), i32x4_splat(0x1fe));
        let sum = i32x4_add(
            i32x4_dot_i16x8(red_blue, i32x4_splat((BLUE << 16 | RED) as i32)),
            i32x4_dot_i16x8(twice_green, i32x4_splat((GREEN / 2) as i32)),
        );
        u32x4_shr(i32x4_add(sum, i32x4_splat(HALF as i32)), 16)
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod vector {
    pub(super) fn find(_bytes: &[u8], _value: u8) -> Result<usize, usize> {
        Err(0)
    }

    pub(super) fn rgba_to_grey(_pixels: &mut [u8]) -> usize {
        0
    }
}

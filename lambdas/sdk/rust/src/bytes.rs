//! Numbers in network byte order, at any place of a payload.

macro_rules! numbers {
    ($($type:ident $get:ident $put:ident $bytes:literal $value:literal;)*) => {$(
        #[doc = concat!("The `", stringify!($type), "` at byte `at`; `None` if it does not lie in `bytes` as a whole.")]
        ///
        /// ```
        #[doc = concat!("use lnic_lambda::bytes::", stringify!($get), ";")]
        #[doc = concat!("let bytes = [&[9][..], &", stringify!($value), stringify!($type), ".to_be_bytes()].concat();")]
        #[doc = concat!("assert_eq!(", stringify!($get), "(&bytes, 1), Some(", stringify!($value), "));")]
        #[doc = concat!("assert_eq!(", stringify!($get), "(&bytes, 2), None);")]
        /// ```
        #[must_use]
        #[inline]
        pub fn $get(bytes: &[u8], at: usize) -> Option<$type> {
            let end = at.checked_add($bytes)?;
            let mut number = [0; $bytes];
            number.copy_from_slice(bytes.get(at..end)?);
            Some($type::from_be_bytes(number))
        }

        #[doc = concat!("Writes a `", stringify!($type), "` at byte `at`; `None`, and nothing changes, if it does not fit there.")]
        ///
        /// ```
        #[doc = concat!("use lnic_lambda::bytes::{", stringify!($get), ", ", stringify!($put), "};")]
        #[doc = concat!("let mut bytes = [0; ", stringify!($bytes), " + 1];")]
        #[doc = concat!(stringify!($put), "(&mut bytes, 1, ", stringify!($value), ").unwrap();")]
        #[doc = concat!("assert_eq!(", stringify!($get), "(&bytes, 1), Some(", stringify!($value), "));")]
        #[doc = concat!("assert_eq!(", stringify!($put), "(&mut bytes, 2, 0), None);")]
        /// ```
        #[must_use = "a number that does not fit is not written"]
        #[inline]
        pub fn $put(bytes: &mut [u8], at: usize, number: $type) -> Option<()> {
            let end = at.checked_add($bytes)?;
            bytes.get_mut(at..end)?.copy_from_slice(&number.to_be_bytes());
            Some(())
        }
    )*};
}

numbers! {
    u16 get_u16 put_u16 2 0x0102;
    u32 get_u32 put_u32 4 0x0102_0304;
    u64 get_u64 put_u64 8 0x0102_0304_0506_0708;
}

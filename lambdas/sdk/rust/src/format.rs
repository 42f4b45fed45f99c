//! Text in a buffer.

use core::fmt;

/// Formatted text in a buffer: what does not fit is cut off, and counted.
///
/// ```
/// use lnic_lambda::Text;
/// let mut buffer = [0; 8];
/// let mut text = Text::new(&mut buffer);
/// text.push_fmt(format_args!("{}-{:02x}", 12, 10));
/// assert_eq!((text.as_bytes(), text.wanted()), (&b"12-0a"[..], 5));
/// text.push_fmt(format_args!(" and more"));
/// assert_eq!((text.as_bytes(), text.wanted()), (&b"12-0a an"[..], 14));
/// ```
#[derive(Debug)]
pub struct Text<'a> {
    buffer: &'a mut [u8],
    wanted: usize,
}

impl<'a> Text<'a> {
    /// Nothing yet.
    ///
    /// ```
    /// assert_eq!(lnic_lambda::Text::new(&mut [0; 8]).as_bytes(), b"");
    /// ```
    #[must_use]
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, wanted: 0 }
    }

    /// Appends formatted text.
    ///
    /// ```
    /// let mut buffer = [0; 8];
    /// let mut text = lnic_lambda::Text::new(&mut buffer);
    /// text.push_fmt(format_args!("{}", 7));
    /// assert_eq!(text.as_bytes(), b"7");
    /// ```
    pub fn push_fmt(&mut self, text: fmt::Arguments<'_>) {
        // Writing never fails; a Display that does ends the text.
        let _ = fmt::write(self, text);
    }

    /// Appends bytes.
    ///
    /// ```
    /// let mut buffer = [0; 8];
    /// let mut text = lnic_lambda::Text::new(&mut buffer);
    /// text.push(b"GET ");
    /// text.push(b"/");
    /// assert_eq!(text.as_bytes(), b"GET /");
    /// ```
    pub fn push(&mut self, bytes: &[u8]) {
        let at = self.wanted.min(self.buffer.len());
        let room = &mut self.buffer[at..];
        let fits = bytes.len().min(room.len());
        room[..fits].copy_from_slice(&bytes[..fits]);
        self.wanted = self.wanted.saturating_add(bytes.len());
    }

    /// Appends a decimal number, without what formatting brings along.
    ///
    /// ```
    /// let mut buffer = [0; 32];
    /// let mut text = lnic_lambda::Text::new(&mut buffer);
    /// text.push_number(0);
    /// text.push_number(u64::MAX);
    /// assert_eq!(text.as_bytes(), b"018446744073709551615");
    /// ```
    pub fn push_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut rest = number;
        let mut count = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[digits.len() - count..]);
    }

    /// What there is.
    ///
    /// ```
    /// assert!(lnic_lambda::Text::new(&mut []).as_bytes().is_empty());
    /// ```
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[..self.wanted.min(self.buffer.len())]
    }

    /// Bytes that there would be in a buffer that is large enough: more than there are if something was cut off.
    ///
    /// ```
    /// let mut text = lnic_lambda::Text::new(&mut []);
    /// text.push(b"abc");
    /// assert_eq!(text.wanted(), 3);
    /// ```
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wanted
    }
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

//! The encoding of a column: numbers with a common base, power of ten, and width.

use crate::error::StoreError;

/// Maximum common power of ten of a column.
const MAX_EXPONENT: u8 = 9;

/// Appends a column: the least number, the power of ten, the width in bytes, and the scaled differences.
pub(crate) fn push(output: &mut Vec<u8>, numbers: &[i64]) {
    let base = numbers.iter().copied().min().unwrap_or(0);
    let above = |number: &i64| number.wrapping_sub(base).cast_unsigned();
    let (mut exponent, mut unit) = (0, 1);
    while exponent < MAX_EXPONENT && numbers.iter().all(|number| above(number) % (unit * 10) == 0) {
        (exponent, unit) = (exponent + 1, unit * 10);
    }
    let most = numbers.iter().map(above).max().unwrap_or(0) / unit;
    let width = 8 - most.leading_zeros() as usize / 8;
    output.extend_from_slice(&base.to_le_bytes());
    output.extend_from_slice(&[exponent, width as u8]);
    for number in numbers {
        output.extend_from_slice(&(above(number) / unit).to_le_bytes()[..width]);
    }
}

/// Appends a column with missing numbers: a bit per number, and a column of the present ones.
pub(crate) fn push_optional(output: &mut Vec<u8>, numbers: &[Option<i64>]) {
    for eight in numbers.chunks(8) {
        let bit = |(at, number): (usize, &Option<i64>)| u8::from(number.is_some()) << at;
        output.push(eight.iter().enumerate().map(bit).sum());
    }
    push(output, &numbers.iter().flatten().copied().collect::<Vec<_>>());
}

/// Decodes columns one after the other.
pub(crate) struct ColumnReader<'a>(pub(crate) &'a [u8]);

impl<'a> ColumnReader<'a> {
    /// Decodes the next column of `count` numbers into a buffer.
    pub(crate) fn read(&mut self, count: usize, numbers: &mut Vec<i64>) -> Result<(), StoreError> {
        let head = self.take(10)?;
        let (base, exponent, width) = (&head[..8], head[8], usize::from(head[9]));
        let base = base.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)).cast_signed();
        let unit = 10_u64.pow(u32::from(exponent.min(MAX_EXPONENT)));
        let bytes = self.take(count * width)?;
        numbers.clear();
        match width {
            0 => numbers.resize(count, base),
            1 => decode::<1>(bytes, base, unit, numbers),
            2 => decode::<2>(bytes, base, unit, numbers),
            3 => decode::<3>(bytes, base, unit, numbers),
            4 => decode::<4>(bytes, base, unit, numbers),
            5 => decode::<5>(bytes, base, unit, numbers),
            6 => decode::<6>(bytes, base, unit, numbers),
            7 => decode::<7>(bytes, base, unit, numbers),
            8 => decode::<8>(bytes, base, unit, numbers),
            _ => return Err(corrupt()),
        }
        Ok(())
    }

    /// Decodes the present numbers of the next column, in which numbers can be missing; returns a bit per number.
    pub(crate) fn read_present(&mut self, count: usize, numbers: &mut Vec<i64>) -> Result<&'a [u8], StoreError> {
        let (present, rest) = self.0.split_at_checked(count.div_ceil(8)).ok_or_else(corrupt)?;
        self.0 = rest;
        let known = present.iter().map(|bits| bits.count_ones() as usize).sum();
        self.read(known, numbers)?;
        Ok(present)
    }

    /// Decodes the next column, in which numbers can be missing.
    pub(crate) fn read_optional(
        &mut self,
        count: usize,
        buffer: &mut Vec<i64>,
        numbers: &mut Vec<Option<i64>>,
    ) -> Result<(), StoreError> {
        let present = self.read_present(count, buffer)?;
        numbers.clear();
        numbers.resize(count, None);
        let mut values = buffer.iter().copied();
        for (eight, bits) in numbers.chunks_mut(8).zip(present) {
            for (bit, number) in eight.iter_mut().enumerate() {
                if bits >> bit & 1 == 1 {
                    *number = values.next();
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(corrupt)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// A width that the compiler knows makes a number take a nanosecond.
fn decode<const WIDTH: usize>(bytes: &[u8], base: i64, unit: u64, numbers: &mut Vec<i64>) {
    numbers.extend(bytes.as_chunks::<WIDTH>().0.iter().map(|chunk| {
        let mut whole = [0; 8];
        whole[..WIDTH].copy_from_slice(chunk);
        base.wrapping_add(u64::from_le_bytes(whole).wrapping_mul(unit).cast_signed())
    }));
}

pub(crate) fn corrupt() -> StoreError {
    StoreError::Damaged("the columns of metrics are corrupt; rebuild them with rebuild-metrics".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_as_they_were_written() {
        let cases: [&[i64]; 8] = [
            &[],
            &[0],
            &[i64::MIN, i64::MAX, 0, -1],
            &[7; 300],
            &[1_700_000_000_123_000_000, 1_700_000_060_000_000_000],
            &[-5, 250],
            &[10, 20, 100_000],
            &[i64::MAX, i64::MAX - 1],
        ];
        for numbers in cases {
            let optional: Vec<_> = numbers.iter().flat_map(|number| [Some(*number), None]).collect();
            let mut bytes = Vec::new();
            push(&mut bytes, numbers);
            push_optional(&mut bytes, &optional);
            let (mut reader, mut read, mut read_optional) = (ColumnReader(&bytes), Vec::new(), Vec::new());
            reader.read(numbers.len(), &mut read).unwrap();
            assert_eq!(read, numbers);
            reader.read_optional(optional.len(), &mut read, &mut read_optional).unwrap();
            assert_eq!(read_optional, optional);
            assert!(reader.0.is_empty());
            // Truncated bytes are an error, not a panic.
            for end in 0..bytes.len() {
                let mut reader = ColumnReader(&bytes[..end]);
                let _ = reader
                    .read(numbers.len(), &mut read)
                    .and_then(|()| reader.read_optional(optional.len(), &mut read, &mut read_optional));
            }
        }
    }

    #[test]
    fn close_numbers_take_few_bytes() {
        let mut bytes = Vec::new();
        push(&mut bytes, &[1_700_000_000_000_000_000, 1_700_000_065_000_000_000]);
        assert_eq!(bytes.len(), 10 + 2);
    }
}

//! Values of GGUF metadata. Arrays stay close to their size in the file.

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(Number),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A number with its type in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array; the format's arrays of arrays are refused, no model has any.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    Numbers(Numbers),
    Bools(Vec<bool>),
    Strings(Strings),
}

/// Numbers of one type, as bytes of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    number_type: NumberType,
    bytes: Vec<u8>,
}

/// Strings end to end in one allocation: a vocabulary is hundreds of thousands of short ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strings {
    text: String,
    ends: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl Value {
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Number(number) if number.number_type().is_float() => "a float",
            Value::Number(_) => "an integer",
            Value::Bool(_) => "a boolean",
            Value::String(_) => "a string",
            Value::Array(Array::Numbers(numbers)) if numbers.number_type.is_float() => "an array of floats",
            Value::Array(Array::Numbers(_)) => "an array of integers",
            Value::Array(Array::Bools(_)) => "an array of booleans",
            Value::Array(Array::Strings(_)) => "an array of strings",
        }
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Value::Number(Number::U32(value))
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Value::Number(Number::F32(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::String(value.to_owned())
    }
}

impl From<Strings> for Value {
    fn from(value: Strings) -> Self {
        Value::Array(Array::Strings(value))
    }
}

impl From<&[i32]> for Value {
    fn from(values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Value::Array(Array::Numbers(Numbers { number_type: NumberType::I32, bytes }))
    }
}

impl From<&[f32]> for Value {
    fn from(values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Value::Array(Array::Numbers(Numbers { number_type: NumberType::F32, bytes }))
    }
}

impl Number {
    pub fn as_f64(self) -> f64 {
        match self {
            Number::F32(value) => f64::from(value),
            Number::F64(value) => value,
            Number::U64(value) => value as f64,
            Number::I64(value) => value as f64,
            Number::U8(value) => f64::from(value),
            Number::I8(value) => f64::from(value),
            Number::U16(value) => f64::from(value),
            Number::I16(value) => f64::from(value),
            Number::U32(value) => f64::from(value),
            Number::I32(value) => f64::from(value),
        }
    }

    /// `None` for floats and for integers beyond i64.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Number::F32(_) | Number::F64(_) => None,
            Number::U64(value) => i64::try_from(value).ok(),
            Number::I64(value) => Some(value),
            Number::U8(value) => Some(value.into()),
            Number::I8(value) => Some(value.into()),
            Number::U16(value) => Some(value.into()),
            Number::I16(value) => Some(value.into()),
            Number::U32(value) => Some(value.into()),
            Number::I32(value) => Some(value.into()),
        }
    }

    /// `None` for floats and negative integers.
    pub fn as_uint(self) -> Option<u64> {
        match self {
            Number::U64(value) => Some(value),
            other => other.as_int().and_then(|value| u64::try_from(value).ok()),
        }
    }

    fn number_type(self) -> NumberType {
        match self {
            Number::U8(_) => NumberType::U8,
            Number::I8(_) => NumberType::I8,
            Number::U16(_) => NumberType::U16,
            Number::I16(_) => NumberType::I16,
            Number::U32(_) => NumberType::U32,
            Number::I32(_) => NumberType::I32,
            Number::F32(_) => NumberType::F32,
            Number::U64(_) => NumberType::U64,
            Number::I64(_) => NumberType::I64,
            Number::F64(_) => NumberType::F64,
        }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) -> NumberType {
        match self {
            Number::U8(value) => out.push(value),
            Number::I8(value) => out.extend(value.to_le_bytes()),
            Number::U16(value) => out.extend(value.to_le_bytes()),
            Number::I16(value) => out.extend(value.to_le_bytes()),
            Number::U32(value) => out.extend(value.to_le_bytes()),
            Number::I32(value) => out.extend(value.to_le_bytes()),
            Number::F32(value) => out.extend(value.to_le_bytes()),
            Number::U64(value) => out.extend(value.to_le_bytes()),
            Number::I64(value) => out.extend(value.to_le_bytes()),
            Number::F64(value) => out.extend(value.to_le_bytes()),
        }
        self.number_type()
    }
}

impl NumberType {
    const ALL: [(u32, NumberType); 10] = [
        (0, NumberType::U8),
        (1, NumberType::I8),
        (2, NumberType::U16),
        (3, NumberType::I16),
        (4, NumberType::U32),
        (5, NumberType::I32),
        (6, NumberType::F32),
        (10, NumberType::U64),
        (11, NumberType::I64),
        (12, NumberType::F64),
    ];

    pub(super) fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == id).map(|(_, number_type)| *number_type)
    }

    pub(super) fn id(self) -> u32 {
        let entry = Self::ALL.iter().find(|(_, number_type)| *number_type == self);
        entry.expect("the table lists every type").0
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            NumberType::U8 | NumberType::I8 => 1,
            NumberType::U16 | NumberType::I16 => 2,
            NumberType::U32 | NumberType::I32 | NumberType::F32 => 4,
            NumberType::U64 | NumberType::I64 | NumberType::F64 => 8,
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, NumberType::F32 | NumberType::F64)
    }

    /// `bytes` holds whole numbers of this type.
    pub(super) fn array(self, bytes: &[u8]) -> Numbers {
        Numbers { number_type: self, bytes: bytes.to_vec() }
    }

    /// `bytes` holds exactly one number.
    pub(super) fn decode(self, bytes: &[u8]) -> Number {
        fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
            bytes.try_into().expect("the caller takes as many bytes as the type has")
        }
        match self {
            NumberType::U8 => Number::U8(bytes[0]),
            NumberType::I8 => Number::I8(i8::from_le_bytes(fixed(bytes))),
            NumberType::U16 => Number::U16(u16::from_le_bytes(fixed(bytes))),
            NumberType::I16 => Number::I16(i16::from_le_bytes(fixed(bytes))),
            NumberType::U32 => Number::U32(u32::from_le_bytes(fixed(bytes))),
            NumberType::I32 => Number::I32(i32::from_le_bytes(fixed(bytes))),
            NumberType::F32 => Number::F32(f32::from_le_bytes(fixed(bytes))),
            NumberType::U64 => Number::U64(u64::from_le_bytes(fixed(bytes))),
            NumberType::I64 => Number::I64(i64::from_le_bytes(fixed(bytes))),
            NumberType::F64 => Number::F64(f64::from_le_bytes(fixed(bytes))),
        }
    }
}

impl Numbers {
    pub fn number_type(&self) -> NumberType {
        self.number_type
    }

    pub fn iter(&self) -> impl Iterator<Item = Number> + '_ {
        self.bytes.chunks_exact(self.number_type.bytes()).map(|bytes| self.number_type.decode(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Strings {
    pub fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(u32::try_from(self.text.len()).expect("metadata is bounded below 4 GiB"));
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        Some(&self.text[start..end])
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).expect("the index is below the length"))
    }
}

impl<'a> FromIterator<&'a str> for Strings {
    fn from_iter<I: IntoIterator<Item = &'a str>>(strings: I) -> Self {
        let mut all = Strings::default();
        strings.into_iter().for_each(|string| all.push(string));
        all
    }
}

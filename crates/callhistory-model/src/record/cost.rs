//! The cost of a call.

use std::{borrow::Cow, collections::HashSet};

use serde::ser::SerializeMap as _;
use serde_json::value::RawValue;

use super::rules::{MemberReader, charge_text, is_empty_container};
use crate::{
    Amount, FieldError, FieldErrorCode, FieldWarning, JsonText, WarningCode,
    value::raw_json::{decode_string, object, raw_members, type_name},
};

/// The cost of a call: named exact amounts, and their currency, in the order in which they were sent.
///
/// ```
/// use callhistory_model::CallCost;
///
/// let cost = CallCost::new([("customer_charge", "0.10".parse()?)])?;
/// assert_eq!(cost.customer_charge().unwrap().as_str(), "0.10");
/// # Ok::<(), callhistory_model::FieldError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCost(Vec<(String, CostMember)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum CostMember {
    Amount(Amount),
    Currency(String),
    /// Anything else that a response has.
    Other(JsonText),
}

impl CallCost {
    const CUSTOMER_CHARGE: &'static str = "customer_charge";
    const CURRENCY: &'static str = "currency";

    /// A cost with these amounts.
    ///
    /// # Errors
    ///
    /// A duplicate name, and an amount with the name `currency`.
    pub fn new<N: Into<String>>(amounts: impl IntoIterator<Item = (N, Amount)>) -> Result<Self, FieldError> {
        let mut members = Vec::new();
        let mut names = HashSet::new();
        for (name, amount) in amounts {
            let name = name.into();
            if name == Self::CURRENCY || !names.insert(name.clone()) {
                return Err(duplicate(&name));
            }
            members.push((name, CostMember::Amount(amount)));
        }
        Ok(Self(members))
    }

    /// The same cost in a currency, as a code of ISO 4217.
    ///
    /// # Errors
    ///
    /// The code is not three letters.
    pub fn with_currency(mut self, code: &str) -> Result<Self, FieldError> {
        check_currency(code)?;
        self.0.retain(|(name, _)| name != Self::CURRENCY);
        self.0.push((Self::CURRENCY.to_owned(), CostMember::Currency(code.to_owned())));
        Ok(self)
    }

    /// The currency of the amounts, as a code of ISO 4217; if it is absent, the workspace knows it.
    #[must_use]
    pub fn currency(&self) -> Option<&str> {
        self.0.iter().find_map(|(_, member)| match member {
            CostMember::Currency(code) => Some(code.as_str()),
            _ => None,
        })
    }

    /// The amount charged to the customer.
    #[must_use]
    pub fn customer_charge(&self) -> Option<&Amount> {
        self.get(Self::CUSTOMER_CHARGE)
    }

    /// The amount with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Amount> {
        self.iter().find(|(have, _)| *have == name).map(|(_, amount)| amount)
    }

    /// The amounts with their names, in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Amount)> {
        self.0.iter().filter_map(|(name, member)| match member {
            CostMember::Amount(amount) => Some((name.as_str(), amount)),
            _ => None,
        })
    }

    /// The members of a response that are neither an amount nor the currency, as JSON text.
    ///
    /// ```
    /// let newer: callhistory_model::CallCost = serde_json::from_str(r#"{"customer_charge": 0.10, "plan": "gold"}"#)?;
    /// assert_eq!(newer.others().next().unwrap().1.as_str(), r#""gold""#);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn others(&self) -> impl Iterator<Item = (&str, &JsonText)> {
        self.0.iter().filter_map(|(name, member)| match member {
            CostMember::Other(json) => Some((name.as_str(), json)),
            _ => None,
        })
    }

    /// Reads the value of the member `cost`: an object, or the number that is the charge.
    pub(super) fn read(reader: &mut MemberReader, json: &str) -> Result<Self, FieldError> {
        let before = reader.warnings.len();
        let is_number = type_name(json) == "a number" || json.starts_with('"') && reader.amount(json).is_ok();
        reader.warnings.truncate(before);
        let distinct = if reader.is_lenient() { reader.without_duplicates(json) } else { json.into() };
        let number = if is_number { charge_text(json) } else { String::new() };
        let json = if is_number {
            reader.warn(WarningCode::CostAsNumber, "is a number; it was read as customer_charge");
            number.as_str()
        } else if json.starts_with('[') && is_empty_container(json) {
            reader.warn(WarningCode::EmptyArray, "is an empty array; it was read as an empty object");
            "{}"
        } else {
            &distinct
        };
        let mut cost = Self::default();
        let mut names = HashSet::new();
        for (name, value) in object(json)? {
            if !names.insert(name.to_string()) {
                return Err(duplicate(&name));
            }
            if value == "null" {
                reader.removed_from_cost.push(name.into_owned());
                continue;
            }
            let before = reader.warnings.len();
            let member = match Self::read_member(reader, &name, value).map_err(|error| error.in_member(&name)) {
                Ok(member) => member,
                Err(error) if reader.is_lenient() => {
                    reader.warnings.truncate(before);
                    let left_out = format!("{}; the member is left out", error.detail);
                    reader.warnings.push(FieldWarning::new(WarningCode::LeftOut, left_out).in_member(&name));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let warnings = reader.warnings.split_off(before);
            reader.warnings.extend(warnings.into_iter().map(|warning| warning.in_member(&name)));
            cost.0.push((name.into_owned(), member));
        }
        Ok(cost)
    }

    fn read_member(reader: &mut MemberReader, name: &str, value: &str) -> Result<CostMember, FieldError> {
        if name != Self::CURRENCY {
            return reader.amount(value).map(CostMember::Amount);
        }
        let code = decode_string(value)?;
        check_currency(&code)?;
        Ok(CostMember::Currency(code))
    }
}

fn duplicate(name: &str) -> FieldError {
    FieldError::new(FieldErrorCode::DuplicateMember, format!("contains the member {name:?} more than once"))
}

/// The error of a code that is not three letters.
pub(crate) fn check_currency(code: &str) -> Result<(), FieldError> {
    if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Ok(());
    }
    let detail = format!("is {code:?}; a currency has the three letters of ISO 4217");
    Err(FieldError::new(FieldErrorCode::Malformed, detail))
}

impl serde::Serialize for CallCost {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, member) in &self.0 {
            match member {
                CostMember::Amount(amount) => map.serialize_entry(name, amount)?,
                CostMember::Currency(code) => map.serialize_entry(name, code)?,
                CostMember::Other(json) => map.serialize_entry(name, json)?,
            }
        }
        map.end()
    }
}

impl<'de> serde::Deserialize<'de> for CallCost {
    /// Reads a response: a member of another type is kept as it is.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let members = raw_members(raw.get()).map_err(serde::de::Error::custom)?;
        let read = |(name, json): (Cow<'_, str>, &RawValue)| {
            let member = match name.as_ref() {
                Self::CURRENCY => decode_string(json.get()).ok().map(CostMember::Currency),
                _ => json.get().parse().ok().map(CostMember::Amount),
            };
            (name.into_owned(), member.unwrap_or_else(|| CostMember::Other(json.to_owned().into())))
        };
        Ok(Self(members.into_iter().map(read).collect()))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for CallCost {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CallCost".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let amount = generator.subschema_for::<Amount>();
        let mut charge = amount.clone();
        charge.insert(
            "description".into(),
            "Amount charged to the customer: an exact decimal, in `currency` or else in that of the workspace.".into(),
        );
        schemars::json_schema!({
            "description": "Cost of a call: named exact decimals, in `currency` or else in that of the workspace.",
            "type": "object",
            "properties": {
                Self::CUSTOMER_CHARGE: charge,
                Self::CURRENCY: {
                    "description": "Currency of the amounts (ISO 4217).",
                    "type": "string",
                    "pattern": "^[A-Za-z]{3}$",
                    "examples": ["EUR"],
                },
            },
            "additionalProperties": amount,
        })
    }
}

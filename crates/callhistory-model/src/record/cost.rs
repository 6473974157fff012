//! The cost of a call.

#[cfg(feature = "schema")]
use super::rules::NO_NUL;
use super::rules::{MAX_LABEL_CHARS, number};
use crate::{Amount, FieldError, FieldErrorCode, value::raw_json::object};

const MAX_COST_MEMBERS: usize = 64;

/// The cost of a call: named exact amounts, in the order in which they were sent.
///
/// ```
/// use callhistory_model::CallCost;
///
/// let cost = CallCost::new([("customer_charge", "0.10".parse()?)])?;
/// assert_eq!(cost.customer_charge().unwrap().as_str(), "0.10");
/// # Ok::<(), callhistory_model::FieldError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCost(Vec<(String, Amount)>);

impl CallCost {
    const CUSTOMER_CHARGE: &'static str = "customer_charge";

    /// A cost with these amounts.
    ///
    /// # Errors
    ///
    /// A duplicate name, a name of more than 256 characters or with U+0000, and more than 64 amounts.
    pub fn new<N: Into<String>>(amounts: impl IntoIterator<Item = (N, Amount)>) -> Result<Self, FieldError> {
        let mut cost = Self::default();
        for (name, amount) in amounts {
            cost.insert(name.into(), amount)?;
        }
        Ok(cost)
    }

    fn insert(&mut self, name: String, amount: Amount) -> Result<(), FieldError> {
        if self.get(&name).is_some() {
            return Err(FieldError::new(
                FieldErrorCode::DuplicateMember,
                format!("contains the member {name:?} more than once"),
            ));
        }
        if name.chars().count() > MAX_LABEL_CHARS {
            let detail = format!("has a member name of more than {MAX_LABEL_CHARS} characters");
            return Err(FieldError::new(FieldErrorCode::TooLong, detail));
        }
        if name.contains('\0') {
            return Err(FieldError::new(
                FieldErrorCode::NulCharacter,
                "has a member name that contains the character U+0000",
            ));
        }
        if self.0.len() == MAX_COST_MEMBERS {
            let detail = format!("has more than {MAX_COST_MEMBERS} members");
            return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
        }
        self.0.push((name, amount));
        Ok(())
    }

    /// The amount charged to the customer, in the currency of the workspace.
    #[must_use]
    pub fn customer_charge(&self) -> Option<&Amount> {
        self.get(Self::CUSTOMER_CHARGE)
    }

    /// The amount with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Amount> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, amount)| amount)
    }

    /// The amounts with their names, in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Amount)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), amount))
    }

    pub(super) fn read(json: &str) -> Result<Self, FieldError> {
        let mut cost = Self::default();
        for (name, value) in object(json)? {
            let amount = number(value).map_err(|error| error.in_member(&name))?;
            cost.insert(name.into_owned(), amount)?;
        }
        Ok(cost)
    }
}

impl serde::Serialize for CallCost {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> serde::Deserialize<'de> for CallCost {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        Self::read(raw.get()).map_err(serde::de::Error::custom)
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
            "Amount charged to the customer: an exact decimal, in the currency of the workspace.".into(),
        );
        schemars::json_schema!({
            "description": "Cost of a call: named exact decimals, in the currency of the workspace.",
            "type": "object",
            "properties": { Self::CUSTOMER_CHARGE: charge },
            "additionalProperties": amount,
            "propertyNames": { "maxLength": MAX_LABEL_CHARS, "pattern": NO_NUL },
            "maxProperties": MAX_COST_MEMBERS,
        })
    }
}

//! Replies that keep what a newer service adds to them.

/// Declares a reply from its members: `always` there, an `optional` one, one that is `defaulted` if a response lacks it, or a `list`
/// that is not written if it is empty. Members that this version does not know are kept in `extra`, and so is a known member that need not be
/// there and whose value it cannot read. A flattened map would lose the digits of numbers.
macro_rules! reply_struct {
    ($(#[$meta:meta])* $name:ident $(<$record:ident = $default:ty>)? {
        $($(#[$member_meta:meta])* $wire:literal $presence:ident $member:ident: $type:ty,)+
    }) => {
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        $(#[$meta])*
        #[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
        pub struct $name $(<$record = $default>)? {
            $($(#[$member_meta])*
            #[cfg_attr(feature = "schema", schemars(rename = $wire))]
            pub $member: $type,)+
            /// Members that this version does not know, or cannot read, as JSON text: of a newer service.
            #[cfg_attr(feature = "schema", schemars(skip))]
            pub extra: Vec<(String, crate::JsonText)>,
        }

        impl $(<$record: serde::Serialize>)? serde::Serialize for $name $(<$record>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $(crate::reply_struct::write_slot!($presence map, self, $member, $wire);)+
                for (name, value) in &self.extra {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }

        impl<'de $(, $record: serde::Deserialize<'de>)?> serde::Deserialize<'de> for $name $(<$record>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct AnswerVisitor $(<$record>(std::marker::PhantomData<$record>))?;

                impl<'de $(, $record: serde::Deserialize<'de>)?> serde::de::Visitor<'de> for AnswerVisitor $(<$record>)? {
                    type Value = $name $(<$record>)?;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("an object of the type ", stringify!($name)))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        $(let mut $member = None;)+
                        let mut extra: Vec<(String, crate::JsonText)> = Vec::new();
                        while let Some(name) = map.next_key::<String>()? {
                            match name.as_str() {
                                $($wire => crate::reply_struct::read_slot!($presence $member, name, map, extra, $type),)+
                                _ => extra.push((name, map.next_value()?)),
                            }
                        }
                        Ok($name { $($member: crate::reply_struct::take_slot!($presence $member, $wire),)+ extra })
                    }
                }

                deserializer.deserialize_map(AnswerVisitor $((std::marker::PhantomData::<$record>))?)
            }
        }
    };
}

/// Writes a member, unless it is absent.
macro_rules! write_slot {
    (always $map:ident, $reply:ident, $member:ident, $wire:literal) => {
        $map.serialize_entry($wire, &$reply.$member)?;
    };
    (optional $map:ident, $reply:ident, $member:ident, $wire:literal) => {
        if let Some(value) = &$reply.$member {
            $map.serialize_entry($wire, value)?;
        }
    };
    (defaulted $map:ident, $reply:ident, $member:ident, $wire:literal) => {
        if $reply.extra.iter().all(|(name, _)| name != $wire) {
            $map.serialize_entry($wire, &$reply.$member)?;
        }
    };
    (list $map:ident, $reply:ident, $member:ident, $wire:literal) => {
        if !$reply.$member.is_empty() {
            $map.serialize_entry($wire, &$reply.$member)?;
        }
    };
}

/// Reads the value of a member. A null counts as absent, unless the member is always there.
macro_rules! read_slot {
    (always $member:ident, $name:ident, $map:ident, $extra:ident, $type:ty) => {
        $member = Some($map.next_value::<$type>()?)
    };
    ($presence:ident $member:ident, $name:ident, $map:ident, $extra:ident, $type:ty) => {{
        let json: crate::JsonText = $map.next_value()?;
        match serde_json::from_str::<Option<$type>>(json.as_str()) {
            Ok(value) => $member = value,
            Err(_) => $extra.push(($name, json)),
        }
    }};
}

/// The member that was read.
macro_rules! take_slot {
    (always $member:ident, $wire:literal) => {
        $member.ok_or_else(|| serde::de::Error::missing_field($wire))?
    };
    ($presence:ident $member:ident, $wire:literal) => {
        $member.unwrap_or_default()
    };
}

pub(crate) use {read_slot, reply_struct, take_slot, write_slot};

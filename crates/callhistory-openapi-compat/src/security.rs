//! Keys and scopes: each set that was sufficient must stay sufficient.

use serde_json::{Map, Value};

use crate::{
    comparison::{Comparison, Kind, Node},
    finding::Rule,
};

impl<'a> Comparison<'a> {
    pub(crate) fn security(&mut self, old: &Node<'a>, new: &Node<'a>) {
        let of = |operation: &Node<'a>, root: &Node<'a>| {
            let own = operation.value.get("security").or_else(|| root.value.get("security"));
            own.and_then(Value::as_array).filter(|list| !list.is_empty()).cloned()
        };
        let open = || vec![Value::Object(Map::new())];
        let before = of(old, &self.old).unwrap_or_else(open);
        let after = of(new, &self.new).unwrap_or_else(open);
        for have in &before {
            // An alternative without a key does not count for a caller that has one: a server can require keys.
            let is_key = |need: &&Value| need.as_object().is_some_and(|need| !need.is_empty());
            let keys: Vec<_> = after.iter().filter(is_key).collect();
            let choices = if is_key(&have) && !keys.is_empty() { keys } else { after.iter().collect() };
            if !choices.iter().any(|need| is_sufficient(have, need)) {
                self.find(Rule::SecurityChanged, new, format!("{have} is no longer sufficient"));
            }
            for scheme in have.as_object().into_iter().flat_map(Map::keys) {
                let definition = |root: &Node<'a>| root.at("components")?.at("securitySchemes")?.at(scheme);
                match (definition(&self.old), definition(&self.new)) {
                    (Some(before), Some(after)) => self.scheme(&before, &after),
                    (Some(before), None) => self.find(Rule::SecurityChanged, &before, format!("{scheme} was removed")),
                    (None, _) => self.find(Rule::NotUnderstood, old, format!("{scheme} is not defined")),
                }
            }
        }
    }

    fn scheme(&mut self, old: &Node<'a>, new: &Node<'a>) {
        if self.is_same(old, new) {
            return;
        }
        let Some((old, new)) = self.resolve_both(old, new) else { return };
        let names = ["type", "in", "name", "scheme"];
        for name in names {
            if old.value.get(name) != new.value.get(name) {
                self.find(Rule::SecurityChanged, &new, format!("{name:?} of the scheme changed"));
            }
        }
        self.judge_other_members(&old, &new, &names.map(|name| (name, Kind::Text)), &["bearerFormat", "deprecated"]);
    }
}

/// Whether a caller that has these keys and scopes has all that are needed.
fn is_sufficient(have: &Value, need: &Value) -> bool {
    need.as_object().is_some_and(|need| {
        need.iter().all(|(scheme, scopes)| {
            let have = have.get(scheme).and_then(Value::as_array);
            let scopes = scopes.as_array();
            have.zip(scopes).is_some_and(|(have, scopes)| scopes.iter().all(|scope| have.contains(scope)))
        })
    })
}

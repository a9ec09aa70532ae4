//! Pages of a list: `limit` and `cursor` in, `data`, `has_more` and `next_cursor` out.

use problem::FieldError;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::cursor::CursorKey;
use crate::extract::{QueryParameters, parameter_error};

const DEFAULT_LIMIT: u8 = 25;
const MAX_LIMIT: u8 = 100;

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many items, 1 to 100.
    #[param(default = 25, minimum = 1, maximum = 100, required = false)]
    pub(crate) limit: u8,
    /// `next_cursor` of the page before; absent for the first page.
    #[param(nullable = false, min_length = 1, max_length = 256)]
    pub(crate) cursor: Option<String>,
}

impl QueryParameters for PageQuery {
    fn parse(pairs: &[(String, String)]) -> Result<Self, Vec<FieldError>> {
        let mut page = Self {
            limit: DEFAULT_LIMIT,
            cursor: None,
        };
        let mut errors = Vec::new();
        for (position, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(position).any(|(earlier, _)| earlier == name) {
                errors.push(parameter_error(name, "repeated", "may be given once"));
                continue;
            }
            match name.as_str() {
                "limit" => match value.parse() {
                    Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => page.limit = limit,
                    _ => errors.push(parameter_error(
                        name,
                        "out_of_range",
                        "must be an integer from 1 to 100",
                    )),
                },
                "cursor" => page.cursor = Some(value.clone()),
                _ => errors.push(parameter_error(
                    name,
                    "unknown_parameter",
                    "is not a parameter of this operation",
                )),
            }
        }
        if errors.is_empty() { Ok(page) } else { Err(errors) }
    }
}

impl PageQuery {
    /// The position to go on after, or `first` when this is the first page.
    pub(crate) fn position(&self, key: &CursorKey, scope: &str, first: i64) -> Result<i64, Vec<FieldError>> {
        self.cursor.as_deref().map_or(Ok(first), |cursor| {
            key.open(scope, cursor).map_err(|_| {
                vec![parameter_error(
                    "cursor",
                    "invalid",
                    "is not a cursor of this list",
                )]
            })
        })
    }

    /// How many rows to read: one more than asked for tells whether there is a next page.
    pub(crate) fn rows_to_read(&self) -> i64 {
        i64::from(self.limit).saturating_add(1)
    }

    /// Cuts what was read down to the page, with the cursor that leads on. `position` is where a row stands.
    pub(crate) fn cut<T>(
        &self,
        key: &CursorKey,
        scope: &str,
        mut rows: Vec<T>,
        position: impl Fn(&T) -> i64,
    ) -> Page<T> {
        let limit = usize::from(self.limit);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| has_more)
            .map(|last| key.seal(scope, position(last)));
        Page {
            data: rows,
            has_more,
            next_cursor,
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The items, in the order of the list.
    pub(crate) data: Vec<T>,
    /// Whether another page follows.
    pub(crate) has_more: bool,
    /// Give this as `cursor` to get the next page; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// The same page with each item in another form.
    pub(crate) fn map<U>(self, form: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(form).collect(),
            has_more: self.has_more,
            next_cursor: self.next_cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<PageQuery, Vec<String>> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        PageQuery::parse(&pairs).map_err(|errors| errors.into_iter().map(|error| error.pointer).collect())
    }

    #[test]
    fn every_fault_of_a_query_is_told_at_once() {
        assert_eq!(
            parse(&[]),
            Ok(PageQuery {
                limit: 25,
                cursor: None
            })
        );
        assert_eq!(
            parse(&[("limit", "100")]),
            Ok(PageQuery {
                limit: 100,
                cursor: None
            })
        );
        assert_eq!(
            parse(&[("limit", "0"), ("page", "2"), ("limit", "5")]),
            Err(vec![
                "/query/limit".to_owned(),
                "/query/page".to_owned(),
                "/query/limit".to_owned()
            ])
        );
        for limit in ["101", "-1", "1.5", "", "+5x", "ten"] {
            assert!(parse(&[("limit", limit)]).is_err(), "{limit}");
        }
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let key = CursorKey::derive(b"k");
        let page = PageQuery {
            limit: 2,
            cursor: None,
        };
        let full = page.cut(&key, "s", vec![9_i64, 8, 7], |row| *row);
        assert_eq!((full.data, full.has_more), (vec![9, 8], true));
        assert_eq!(key.open("s", &full.next_cursor.unwrap()), Ok(8));
        let last = page.cut(&key, "s", vec![9_i64, 8], |row| *row);
        assert_eq!((last.has_more, last.next_cursor), (false, None));
    }
}

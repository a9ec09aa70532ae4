//! Tests of what requests and answers say of being kept.

use http::HeaderValue;
use policy::{Cache, CacheKey};
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn lifetime(key: CacheKey, lines: &[(&'static str, &str)]) -> Option<(u64, u64)> {
    let kept = Cache {
        time: Duration::from_secs(100),
        key,
        largest: 1,
    };
    let lifetime = Lifetime::of(&headers(lines), &kept, HOUR)?;
    Some((lifetime.fresh.as_secs(), lifetime.stale.as_secs()))
}

#[test]
fn an_upstream_shortens_what_the_policy_says_and_never_lengthens_it() {
    let private = |value| lifetime(CacheKey::Principal, &[("cache-control", value)]);
    let public = |value| lifetime(CacheKey::Public, &[("cache-control", value)]);
    for (said, kept) in [
        ("max-age=30", Some((30, 3600))),
        ("max-age=1000", Some((100, 3600))),
        ("public, max-age=99999999999999999999999", Some((100, 3600))),
        ("max-age=30, s-maxage=20", Some((20, 3600))),
        ("max-age=30, max-age=20", Some((20, 3600))),
        ("MAX-AGE=\"30\"", Some((30, 3600))),
        ("ext=\"max-age=1, no-store\", max-age=30", Some((30, 3600))),
        ("max-age=30, must-revalidate", Some((30, 0))),
        ("proxy-revalidate", Some((100, 0))),
        ("stale-if-error=7", Some((100, 7))),
        ("max-age=0", None),
        ("no-store", None),
        ("max-age=30, No-Store", None),
        ("no-cache", None),
        ("no-cache=\"set-cookie\"", None),
        ("max-age=soon", None),
        ("max-age", None),
        ("max-age=-1", None),
        ("max-age=\"30", None),
        ("max-age=30;no-store", None),
        ("max-age =30", None),
        ("=30", None),
    ] {
        assert_eq!(private(said), kept, "{said}");
        assert_eq!(public(said), kept, "{said}");
    }
    for said in ["private", "private=\"x-account\"", "private, max-age=30"] {
        assert_eq!(public(said), None, "{said}");
        assert!(private(said).is_some(), "{said}");
    }
}

#[test]
fn expires_counts_where_no_age_is_said_and_age_is_taken_off() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let expires = ("expires", "Sun, 06 Nov 1994 08:50:07 GMT");
    let of = |lines: &[(&'static str, &str)]| lifetime(CacheKey::Public, lines);
    assert_eq!(of(&[date, expires]), Some((30, 3600)));
    assert_eq!(
        of(&[date, expires, ("cache-control", "max-age=60")]),
        Some((60, 3600))
    );
    assert_eq!(of(&[expires]), None, "by whose clock?");
    assert_eq!(of(&[date, ("expires", "0")]), None);
    assert_eq!(of(&[date, ("expires", "Sun, 06 Nov 1994 08:49:37 GMT")]), None);
    assert_eq!(of(&[("age", "40")]), Some((60, 3600)));
    assert_eq!(of(&[("age", "100")]), None);
    assert_eq!(of(&[("age", "old")]), None);
}

#[test]
fn a_tag_is_found_among_others_and_compared_weakly() {
    for (field, tag) in [
        ("*", "\"a\""),
        ("\"a\"", "W/\"a\""),
        ("W/\"a\"", "\"a\""),
        ("\"b\", \"a,b\" , \"a\"", "\"a\""),
        ("\"a,b\"", "\"a,b\""),
    ] {
        assert!(names_tag(field, tag), "{field} {tag}");
    }
    for (field, tag) in [
        ("", "\"a\""),
        ("a", "\"a\""),
        ("\"a", "\"a\""),
        ("\"A\"", "\"a\""),
        ("\"a,b\"", "\"a\""),
    ] {
        assert!(!names_tag(field, tag), "{field} {tag}");
    }
}

proptest! {
    #[test]
    fn whatever_is_said_nothing_lives_longer_than_the_policy_says(said in "[ -~\\t]{0,60}", age in "[0-9]{1,12}") {
        for key in [CacheKey::Principal, CacheKey::Public] {
            if let Some((fresh, stale)) = lifetime(key, &[("cache-control", &said), ("age", &age)]) {
                prop_assert!(fresh <= 100 && stale <= 3600);
            }
        }
    }

    #[test]
    fn no_store_is_found_wherever_it_stands(
        before in proptest::collection::vec("[a-z-]{1,9}(=([0-9]{1,4}|\"[a-z, =]{0,9}\"))?", 0..4),
        after in proptest::collection::vec("[a-z-]{1,9}(=([0-9]{1,4}|\"[a-z, =]{0,9}\"))?", 0..4),
        comma in "[ \\t]{0,2},[ \\t,]{0,3}",
    ) {
        let said = [before, vec!["no-store".to_owned()], after].concat().join(&comma);
        prop_assert_eq!(lifetime(CacheKey::Principal, &[("cache-control", &said)]), None);
    }

    #[test]
    fn what_is_quoted_says_nothing(inside in "[a-z, =]{0,20}") {
        let said = format!("ext=\"{inside}\"");
        let directives = Directives::of(&headers(&[("cache-control", &said)]));
        prop_assert_eq!(directives, Directives::default());
    }

    #[test]
    fn a_tag_in_a_list_is_found(tags in proptest::collection::vec("[!#-~]{0,8}", 1..5), pick in any::<prop::sample::Index>()) {
        let list: Vec<String> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
        let tag = pick.get(&list);
        prop_assert!(names_tag(&list.join(" , "), tag));
        prop_assert!(!names_tag(&list.join(","), "\"no such tag at all\""));
    }
}

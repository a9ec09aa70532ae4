//! What the access line says of persons, and how much of it: `access_log.personal_data` of the settings.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderValue;
use policy::Route;
use serde::Deserialize;

/// How much of a person the access line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersonalData {
    /// Addresses, paths with their ids, subjects and names of client certificates.
    #[default]
    Full,
    /// The client's network, the template of the route in place of the path, and nobody's name.
    Reduced,
}

/// A value about a person. It has neither `Debug` nor `Display`: into a line it comes by the operator's choice alone.
pub(crate) struct Personal<T>(pub(crate) T);

/// A client, and its address as it is written already.
pub(crate) type Client<'a> = (IpAddr, &'a HeaderValue);

impl<'a> Personal<Client<'a>> {
    /// The address, or the network that a site has: /24 of IPv4, /48 of IPv6.
    pub(crate) fn told(&self, how_much: PersonalData) -> Cow<'a, str> {
        let Self((address, written)) = *self;
        match (how_much, address) {
            (PersonalData::Full, _) => Cow::Borrowed(written.to_str().unwrap_or_default()),
            (PersonalData::Reduced, IpAddr::V4(address)) => {
                let network = Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8));
                Cow::Owned(format!("{network}/24"))
            }
            (PersonalData::Reduced, IpAddr::V6(address)) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80));
                Cow::Owned(format!("{network}/48"))
            }
        }
    }
}

/// A path, and the route that it has led to.
pub(crate) type Path<'a> = (&'a str, Option<&'a Route>);

impl<'a> Personal<Path<'a>> {
    /// The path, or the template of its route; nothing of a path without a route, for the client chose all of it.
    pub(crate) fn told(&self, how_much: PersonalData) -> Option<&'a str> {
        let Self((path, route)) = *self;
        match how_much {
            PersonalData::Full => Some(path),
            PersonalData::Reduced => route.map(|route| route.path.as_str()),
        }
    }
}

/// A subject, or the name in a certificate.
pub(crate) type Name<'a> = &'a str;

impl<'a> Personal<Name<'a>> {
    /// The name, or nothing.
    pub(crate) fn told(&self, how_much: PersonalData) -> Option<&'a str> {
        (how_much == PersonalData::Full).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reduced_address_is_the_network_of_a_site() {
        let told = |address: &str| {
            let written = HeaderValue::from_str(address).unwrap();
            let client = Personal((address.parse().unwrap(), &written));
            client.told(PersonalData::Reduced).into_owned()
        };
        assert_eq!(told("192.0.2.255"), "192.0.2.0/24");
        assert_eq!(told("255.255.255.255"), "255.255.255.0/24");
        assert_eq!(told("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
        assert_eq!(told("ffff:ffff:ffff:ffff::1"), "ffff:ffff:ffff::/48");
    }
}

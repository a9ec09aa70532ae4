//! The tour: a few commands to copy and paste that show what the bank does and what the gateway refuses.

use std::path::Path;

/// What the tour is about.
#[derive(Debug)]
pub(super) struct Tour<'a> {
    pub(super) gateway: &'a str,
    pub(super) ca: &'a Path,
    pub(super) program: &'a Path,
    pub(super) policies: &'a Path,
    pub(super) data: &'a Path,
    pub(super) environment: &'a str,
}

impl Tour<'_> {
    /// A bash script. Each paragraph stands for itself once those before it have run.
    pub(super) fn script(&self) -> String {
        let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
        TEMPLATE
            .replace("@GATEWAY@", self.gateway)
            .replace("@CA@", &quoted(self.ca))
            .replace("@PORTICO@", &quoted(self.program))
            .replace("@POLICIES@", &quoted(self.policies))
            .replace("@DATA@", &quoted(self.data))
            .replace("@ENVIRONMENT@", self.environment)
    }
}

const TEMPLATE: &str = r#"# A tour of the bank: paste it into bash, paragraph by paragraph.
api() { curl -sS --cacert @CA@ -H 'content-type: application/json' "$@"; echo; }
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }
url=@GATEWAY@

# Become a customer and log in.
me="tour-$RANDOM$RANDOM@bank.example"
api $url/api/v1/auth/register -d "{\"email\":\"$me\",\"password\":\"correct horse battery staple\",\"full_name\":\"Ada Tour\"}"
login=$(api $url/api/v1/auth/login -d "{\"email\":\"$me\",\"password\":\"correct horse battery staple\"}"); echo "$login"
token=$(echo "$login" | field access_token)
bearer="authorization: Bearer $token"
once() { echo "idempotency-key: $(od -An -N16 -tx1 /dev/urandom | tr -d ' ')"; }

# Every mail is a file here. What did the bank write? The link proves that the mailbox is yours, once.
@PORTICO@ mail last --data-dir @DATA@ --to "$me"
api -o /dev/null -w '%{http_code}' $url/api/v1/auth/email/verify -d "{\"token\":\"$(@PORTICO@ mail last --data-dir @DATA@ --to "$me" --token)\"}"

# Open two accounts.
checking=$(api $url/api/v1/accounts -H "$bearer" -d '{"product":"checking","currency":"EUR","name":"Daily"}' | field id)
savings=$(api $url/api/v1/accounts -H "$bearer" -d '{"product":"savings","currency":"EUR","name":"Later"}' | field id)
echo "checking $checking, savings $savings"

# Pay in 100.00 EUR, move 25.00 EUR, look at what happened. Amounts are in cents.
api $url/api/v1/accounts/$checking/deposits -H "$bearer" -H "$(once)" -d '{"amount":10000,"currency":"EUR"}'
api $url/api/v1/transfers -H "$bearer" -H "$(once)" -d "{\"from_account_id\":\"$checking\",\"to_account_id\":\"$savings\",\"amount\":2500,\"currency\":\"EUR\",\"reference\":\"for later\"}"
api $url/api/v1/accounts/$checking/entries -H "$bearer"

# Without a token: 401.
api -i $url/api/v1/accounts

# Six wrong passwords: the sixth is 429, before the password is even looked at.
for attempt in 1 2 3 4 5 6; do api -o /dev/null -w '%{http_code}' $url/api/v1/auth/login -d "{\"email\":\"wrong-$me\",\"password\":\"not the password $attempt\"}"; done

# Which line of the policy did that?
@PORTICO@ policy explain --policies @POLICIES@ --env @ENVIRONMENT@ --method POST --path /api/v1/auth/login --header 'content-type: application/json' --body "{\"email\":\"wrong-$me\"}" --exhausted=login-failures
"#;

# The texts of pages in English. Every language has the same messages with the same variables.

## The frame of every page

title-fault = Error:
skip = Skip to the content
language = Choose a language
log-out = Log out
continue = Continue
go-on = Go on
or = or
save = Save
remove = Remove
rename = Rename
trouble-title = That did not work
back-to-log-in = Back to the log-in
back-to-account = Back to your account

## Fields

email = E-mail address
email-hint = We send a mail there to verify it.
full-name = Full name
password = Password
current-password = Current password
new-password = New password
new-password-hint = A few words that do not belong together are long, easy to remember and hard to guess.
show-password = Show
hide-password = Hide
code = Six-digit code
first-code = Code that the app shows now
confirming-code = Code of your authenticator app, or a recovery code
confirming-code-hint = You have a second factor: confirm the change with it.
recovery-code = Recovery code
recovery-code-hint = Each one can be used once.
ticket = Code from the mail
ticket-hint = It stands below the button in the mail. Copy it and paste it here.

## Logging in

log-in-title = Log in to your account
log-in = Log in
log-in-with-passkey = Log in with a passkey
register-link = Open an account
forgot-link = Forgot your password?
send-unlock-link = Locked out?
second-factor-title = Confirm that it is you
second-factor-lead = Enter the code that your authenticator app shows.
recovery-code-link = Use a recovery code instead
passkey-title = Log in with your passkey
passkey-lead = Your browser asks for your finger, your face or the PIN of your device.
passkey-ask = Use the passkey
passkey-failed = The passkey was not used. Try again, or go back and log in with your password.
passkey-needs-script = Passkeys need JavaScript, which is switched off here. Everything else works without it.

## Registering

register-title = Open an account
register = Open the account
have-account-link = You have an account? Log in
resend-link = No mail came? Send it again

## Mails and what they bring

send-mail = Send the mail
forgot-title = Get a new password
forgot-lead = We send a mail with a link to whoever has an account with this address.
forgot-again-link = Ask for another mail
resend-title = Send the mail again
resend-lead = If this address waits to be verified, we send the mail once more.
send-unlock-title = Unlock your account
send-unlock-lead = After too many failed log-ins an account is locked for a while. We send a mail with a link that lifts that at once.
verify-title = Verify your e-mail address
verify-lead = With this you say that the address is yours.
verify-button = Verify the address
unlock-title = Unlock your account
unlock-lead = Failed log-ins so far are forgotten. You log in with your password, as always.
unlock-button = Unlock
keep-title = Keep your e-mail address
keep-lead = You did not ask for another address? Then keep this one: every session ends, and we send you a link for a new password.
keep-button = Keep the address
reset-title = Set a new password
reset-lead = Every session ends with this, on all devices.
set-password = Set the password

## The page of a person

security-title = Your account
sessions-title = Where you are logged in
session-without-name = Session without a name
this-session = This session
session-name = Name of the session
last-used = last used
last-log-in = Last log-in:
added = Added:
end-session = End
end-others = End all other sessions
devices-title = Trusted devices
devices-lead = You can log in with these even while guesses from elsewhere lock your account.
devices-none = There are none.
factors-title = Second factors
authenticator = Authenticator app
authenticator-none = None: codes of an app protect you if somebody learns your password.
passkey = Passkey
recovery-codes-left =
    { $number ->
        [one] One recovery code is left.
       *[other] { $number } recovery codes are left.
    }
program-on-system = { $program } on { $system }

## Changing what protects the account

password-title = Change your password
password-lead = Every other session ends.
change-password = Change the password
authenticator-title = Add an authenticator app
authenticator-lead = It shows a code that changes every half minute, which you enter when you log in.
secret-lead = Enter this key in the app, then the code that the app shows.
secret-link = Open the app on this device
add-authenticator = Add the app
factor-added = It counts from now on, and every other session has ended.
recovery-codes-title = Keep your recovery codes
recovery-codes-lead = Write them down or print them: each opens your account once when the second factor is lost. They are shown now and never again.
recovery-codes-kept = The recovery codes that you have stay good.
recovery-codes-done = I have kept them
add-passkey-title = Add a passkey
add-passkey-lead = It logs you in with your finger, your face or the PIN of your device, without a password.
add-passkey-name-lead = Give it a name that you will know it by.
passkey-name = Name of the passkey
passkey-name-default = My device
add-passkey = Add a passkey

## What was done

said-registered = Look into your mailbox: a mail says how to go on.
said-mail-sent = If the address is known here, a mail is on its way.
said-verified = Your address is verified. You can log in.
said-unlocked = Your account is unlocked. Log in with your password.
said-kept = Your address stays. A mail brings a link for a new password.
said-password-set = The password is the new one. Log in with it.
said-signed-out = You have logged out.
said-ended = The session has ended. Log in again.
said-password-changed = The password has changed, and every other session has ended.
said-session-named = The session has its new name.
said-session-ended = The session has ended.
said-others-ended = All other sessions have ended.
said-device-removed = The device is trusted no more.
said-factor-removed = The second factor is removed, and every other session has ended.

## What is wrong with a field

fault-email = Enter an e-mail address such as alice@example.com.
fault-full_name = Enter your name: 1 to 200 characters.
fault-name = Enter a name: 1 to 64 characters.
fault-password = Enter your password.
fault-code = Enter the code.
fault-too_short = It needs at least { $min } characters.
fault-too_long = It has at most { $max } characters, and { $max_bytes } bytes.
fault-low_diversity = It needs at least { $min_distinct } different characters.
fault-letters_and_digits = It needs letters and digits.
fault-too_guessable = It is too easy to guess. A few words that do not belong together are better.
fault-common = It is a common password or word.
fault-contains_context = It must not contain your name, your address or the name of the bank.
fault-breached = It is in a list of stolen passwords.
fault-reused = It is the password that you have now.
fault-other = This cannot be taken.

## Why something was refused; by the names of problem types

problem-invalid-credentials = The e-mail address or the password is wrong.
problem-too-many-attempts = There were too many attempts.
problem-auth-busy = Many people are logging in right now.
problem-unavailable = This cannot be done right now.
problem-wrong-password = The current password is wrong.
problem-password-changed = The password was changed elsewhere a moment ago. Try again with the new one.
problem-invalid-ticket = The code or the link is not valid, or not any more. Ask for a new mail.
problem-invalid-challenge = That took too long, or saw too many wrong codes. Log in again.
problem-wrong-code = The code is wrong, or was used already. Wait for the next one.
problem-passkey-refused = The passkey was not accepted.
problem-passkeys-off = There are no passkeys here. Use your password.
problem-too-many-passkeys = You have as many passkeys as there can be. Remove one first.
problem-step-up-required = Confirm this with a code of your authenticator app, or a recovery code.
problem-factor-exists = You have an authenticator app already. Remove it first.
problem-enrolment-over = That took too long. Begin again.
problem-no-second-factor = You have no second factor.
problem-session-not-found = That session has ended already.
problem-not-found = That is not there any more.
problem-form-refused = This form was not sent from this page, or was open for too long. Nothing was done.
problem-other = Something went wrong on our side. Try again.

## When to try again

wait-seconds =
    { $number ->
        [one] Try again in a second.
       *[other] Try again in { $number } seconds.
    }
wait-minutes =
    { $number ->
        [one] Try again in a minute.
       *[other] Try again in { $number } minutes.
    }
wait-hours =
    { $number ->
        [one] Try again in an hour.
       *[other] Try again in { $number } hours.
    }

## Dates

moment = { $day } { $month } { $year }, { $time } UTC
month-1 = January
month-2 = February
month-3 = March
month-4 = April
month-5 = May
month-6 = June
month-7 = July
month-8 = August
month-9 = September
month-10 = October
month-11 = November
month-12 = December

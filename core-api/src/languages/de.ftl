# The texts of pages in German. Every language has the same messages with the same variables.

## The frame of every page

title-fault = Fehler:
skip = Zum Inhalt springen
language = Sprache wählen
log-out = Abmelden
continue = Weiter
go-on = Zurück zur Seite
or = oder
save = Speichern
remove = Entfernen
rename = Umbenennen
trouble-title = Das hat nicht geklappt
back-to-log-in = Zurück zur Anmeldung
back-to-account = Zurück zu Ihrem Konto

## Fields

email = E-Mail-Adresse
email-hint = Wir senden eine E-Mail dorthin, um sie zu bestätigen.
full-name = Vor- und Nachname
password = Passwort
current-password = Aktuelles Passwort
new-password = Neues Passwort
new-password-hint = Einige Wörter, die nicht zusammengehören, sind lang, leicht zu merken und schwer zu erraten.
show-password = Anzeigen
hide-password = Verbergen
code = Sechsstelliger Code
first-code = Code, den die App jetzt anzeigt
confirming-code = Code Ihrer Authenticator-App oder ein Wiederherstellungscode
confirming-code-hint = Sie haben einen zweiten Faktor: Bestätigen Sie die Änderung damit.
recovery-code = Wiederherstellungscode
recovery-code-hint = Jeder kann einmal verwendet werden.
ticket = Code aus der E-Mail
ticket-hint = Er steht unter der Schaltfläche in der E-Mail. Kopieren Sie ihn und fügen Sie ihn hier ein.

## Logging in

log-in-title = Bei Ihrem Konto anmelden
log-in = Anmelden
log-in-with-passkey = Mit Passkey anmelden
register-link = Konto eröffnen
forgot-link = Passwort vergessen?
send-unlock-link = Zugang gesperrt?
second-factor-title = Bestätigen Sie, dass Sie es sind
second-factor-lead = Geben Sie den Code ein, den Ihre Authenticator-App anzeigt.
recovery-code-link = Stattdessen einen Wiederherstellungscode verwenden
passkey-title = Mit Ihrem Passkey anmelden
passkey-lead = Ihr Browser fragt nach Fingerabdruck, Gesicht oder der PIN Ihres Geräts.
passkey-ask = Passkey verwenden
passkey-failed = Der Passkey wurde nicht verwendet. Versuchen Sie es noch einmal, oder gehen Sie zurück und verwenden Sie Ihr Passwort.
passkey-needs-script = Passkeys brauchen JavaScript, das hier ausgeschaltet ist. Alles andere geht auch ohne.

## Registering

register-title = Konto eröffnen
register = Konto eröffnen
have-account-link = Sie haben ein Konto? Anmelden
resend-link = Keine E-Mail bekommen? Noch einmal senden

## Mails and what they bring

send-mail = E-Mail senden
forgot-title = Neues Passwort anfordern
forgot-lead = Wir senden eine E-Mail mit einem Link, wenn es zu dieser Adresse ein Konto gibt.
forgot-again-link = Noch eine E-Mail anfordern
resend-title = E-Mail noch einmal senden
resend-lead = Wenn diese Adresse noch bestätigt werden muss, senden wir die E-Mail noch einmal.
send-unlock-title = Konto entsperren
send-unlock-lead = Nach zu vielen Fehlversuchen ist ein Konto eine Zeit lang gesperrt. Wir senden eine E-Mail mit einem Link, der es sofort entsperrt.
verify-title = E-Mail-Adresse bestätigen
verify-lead = Damit sagen Sie, dass die Adresse Ihnen gehört.
verify-button = Adresse bestätigen
unlock-title = Konto entsperren
unlock-lead = Bisherige Fehlversuche werden vergessen. Sie melden sich wie immer mit Ihrem Passwort an.
unlock-button = Entsperren
keep-title = E-Mail-Adresse behalten
keep-lead = Sie haben keine andere Adresse angefordert? Dann behalten Sie diese: Alle Sitzungen werden beendet, und wir senden Ihnen einen Link für ein neues Passwort.
keep-button = Adresse behalten
reset-title = Neues Passwort festlegen
reset-lead = Damit enden alle Sitzungen auf allen Geräten.
set-password = Passwort festlegen

## The page of a person

security-title = Ihr Konto
sessions-title = Wo Sie angemeldet sind
session-without-name = Sitzung ohne Namen
this-session = Diese Sitzung
session-name = Name der Sitzung
last-used = zuletzt verwendet:
last-log-in = Letzte Anmeldung:
added = Hinzugefügt:
end-session = Beenden
end-others = Alle anderen Sitzungen beenden
devices-title = Vertraute Geräte
devices-lead = Mit diesen können Sie sich anmelden, auch wenn fremde Versuche Ihr Konto sperren.
devices-none = Es gibt keine.
factors-title = Zweite Faktoren
authenticator = Authenticator-App
authenticator-none = Keine: Codes einer App schützen Sie, wenn jemand Ihr Passwort erfährt.
passkey = Schlüssel (Passkey)
recovery-codes-left =
    { $number ->
        [one] Ein Wiederherstellungscode ist übrig.
       *[other] { $number } Wiederherstellungscodes sind übrig.
    }
program-on-system = { $program } auf { $system }

## Changing what protects the account

password-title = Passwort ändern
password-lead = Alle anderen Sitzungen werden beendet.
change-password = Passwort ändern
authenticator-title = Authenticator-App hinzufügen
authenticator-lead = Sie zeigt einen Code, der sich alle halbe Minute ändert und den Sie bei der Anmeldung eingeben.
secret-lead = Geben Sie diesen Schlüssel in der App ein, dann den Code, den die App anzeigt.
secret-link = App auf diesem Gerät öffnen
add-authenticator = App hinzufügen
factor-added = Das gilt ab jetzt, und alle anderen Sitzungen wurden beendet.
recovery-codes-title = Wiederherstellungscodes aufbewahren
recovery-codes-lead = Schreiben Sie sie auf oder drucken Sie sie aus: Jeder öffnet Ihr Konto einmal, wenn der zweite Faktor verloren ist. Sie werden nur jetzt gezeigt.
recovery-codes-kept = Ihre Wiederherstellungscodes gelten weiter.
recovery-codes-done = Ich habe sie aufbewahrt
add-passkey-title = Passkey hinzufügen
add-passkey-lead = Damit melden Sie sich mit Fingerabdruck, Gesicht oder der PIN Ihres Geräts an, ohne Passwort.
add-passkey-name-lead = Geben Sie ihm einen Namen, an dem Sie ihn erkennen.
passkey-name = Name des Passkeys
passkey-name-default = Mein Gerät
add-passkey = Passkey hinzufügen

## What was done

said-registered = Sehen Sie in Ihr Postfach: Eine E-Mail sagt, wie es weitergeht.
said-mail-sent = Wenn die Adresse hier bekannt ist, ist eine E-Mail unterwegs.
said-verified = Ihre Adresse ist bestätigt. Sie können sich anmelden.
said-unlocked = Ihr Konto ist entsperrt. Melden Sie sich mit Ihrem Passwort an.
said-kept = Ihre Adresse bleibt. Eine E-Mail bringt einen Link für ein neues Passwort.
said-password-set = Das neue Passwort gilt. Melden Sie sich damit an.
said-signed-out = Sie haben sich abgemeldet.
said-ended = Die Sitzung ist beendet. Melden Sie sich wieder an.
said-password-changed = Das Passwort wurde geändert, und alle anderen Sitzungen wurden beendet.
said-session-named = Die Sitzung hat ihren neuen Namen.
said-session-ended = Die Sitzung wurde beendet.
said-others-ended = Alle anderen Sitzungen wurden beendet.
said-device-removed = Dem Gerät wird nicht mehr vertraut.
said-factor-removed = Der zweite Faktor wurde entfernt, und alle anderen Sitzungen wurden beendet.

## What is wrong with a field

fault-email = Geben Sie eine E-Mail-Adresse wie alice@example.com ein.
fault-full_name = Geben Sie Ihren Namen ein: 1 bis 200 Zeichen.
fault-name = Geben Sie einen Namen ein: 1 bis 64 Zeichen.
fault-password = Geben Sie Ihr Passwort ein.
fault-code = Geben Sie den Code ein.
fault-too_short = Es braucht mindestens { $min } Zeichen.
fault-too_long = Es hat höchstens { $max } Zeichen und { $max_bytes } Bytes.
fault-low_diversity = Es braucht mindestens { $min_distinct } verschiedene Zeichen.
fault-letters_and_digits = Es braucht Buchstaben und Ziffern.
fault-too_guessable = Es ist zu leicht zu erraten. Besser sind einige Wörter, die nicht zusammengehören.
fault-common = Es ist ein häufiges Passwort oder Wort.
fault-contains_context = Es darf weder Ihren Namen noch Ihre Adresse noch den Namen der Bank enthalten.
fault-breached = Es steht in einer Liste gestohlener Passwörter.
fault-reused = Es ist das Passwort, das Sie jetzt haben.
fault-other = Das wird so nicht angenommen.

## Why something was refused; by the names of problem types

problem-invalid-credentials = Die E-Mail-Adresse oder das Passwort ist falsch.
problem-too-many-attempts = Es gab zu viele Versuche.
problem-auth-busy = Gerade melden sich viele Menschen an.
problem-unavailable = Das geht gerade nicht.
problem-wrong-password = Das aktuelle Passwort ist falsch.
problem-password-changed = Das Passwort wurde eben anderswo geändert. Versuchen Sie es mit dem neuen.
problem-invalid-ticket = Der Code oder der Link ist nicht oder nicht mehr gültig. Fordern Sie eine neue E-Mail an.
problem-invalid-challenge = Das hat zu lange gedauert, oder es gab zu viele falsche Codes. Melden Sie sich neu an.
problem-wrong-code = Der Code ist falsch oder wurde schon verwendet. Warten Sie auf den nächsten.
problem-passkey-refused = Der Passkey wurde nicht angenommen.
problem-passkeys-off = Hier gibt es keine Passkeys. Verwenden Sie Ihr Passwort.
problem-too-many-passkeys = Sie haben so viele Passkeys, wie es geben kann. Entfernen Sie zuerst einen.
problem-step-up-required = Bestätigen Sie das mit einem Code Ihrer Authenticator-App oder einem Wiederherstellungscode.
problem-factor-exists = Sie haben schon eine Authenticator-App. Entfernen Sie sie zuerst.
problem-enrolment-over = Das hat zu lange gedauert. Beginnen Sie noch einmal.
problem-no-second-factor = Sie haben keinen zweiten Faktor.
problem-session-not-found = Diese Sitzung ist schon beendet.
problem-not-found = Das gibt es nicht mehr.
problem-form-refused = Dieses Formular wurde nicht von dieser Seite gesendet oder war zu lange offen. Es wurde nichts getan.
problem-other = Bei uns ist etwas schiefgegangen. Versuchen Sie es noch einmal.

## When to try again

wait-seconds =
    { $number ->
        [one] Versuchen Sie es in einer Sekunde noch einmal.
       *[other] Versuchen Sie es in { $number } Sekunden noch einmal.
    }
wait-minutes =
    { $number ->
        [one] Versuchen Sie es in einer Minute noch einmal.
       *[other] Versuchen Sie es in { $number } Minuten noch einmal.
    }
wait-hours =
    { $number ->
        [one] Versuchen Sie es in einer Stunde noch einmal.
       *[other] Versuchen Sie es in { $number } Stunden noch einmal.
    }

## Dates

moment = { $day }. { $month } { $year }, { $time } UTC
month-1 = Januar
month-2 = Februar
month-3 = März
month-4 = April
month-5 = Mai
month-6 = Juni
month-7 = Juli
month-8 = August
month-9 = September
month-10 = Oktober
month-11 = November
month-12 = Dezember

# The texts of pages in French. Every language has the same messages with the same variables.

## The frame of every page

title-fault = Erreur :
skip = Aller au contenu
language = Choisir la langue
log-out = Se déconnecter
continue = Continuer
go-on = Poursuivre
or = ou
save = Enregistrer
remove = Supprimer
rename = Renommer
trouble-title = Cela n’a pas fonctionné
back-to-log-in = Retour à la connexion
back-to-account = Retour à votre compte

## Fields

email = Adresse e-mail
email-hint = Nous y envoyons un message pour la vérifier.
full-name = Nom complet
password = Mot de passe
current-password = Mot de passe actuel
new-password = Nouveau mot de passe
new-password-hint = Quelques mots sans rapport entre eux sont longs, faciles à retenir et difficiles à deviner.
show-password = Afficher
hide-password = Masquer
code = Code à six chiffres
first-code = Code affiché maintenant par l’application
confirming-code = Code de votre application d’authentification ou code de secours
confirming-code-hint = Vous avez un second facteur : confirmez la modification avec lui.
recovery-code = Code de secours
recovery-code-hint = Chacun ne sert qu’une fois.
ticket = Code reçu par e-mail
ticket-hint = Il se trouve sous le bouton du message. Copiez-le et collez-le ici.

## Logging in

log-in-title = Connectez-vous à votre compte
log-in = Se connecter
log-in-with-passkey = Se connecter avec une clé d’accès
register-link = Ouvrir un compte
forgot-link = Mot de passe oublié ?
send-unlock-link = Accès bloqué ?
second-factor-title = Confirmez que c’est bien vous
second-factor-lead = Saisissez le code affiché par votre application d’authentification.
recovery-code-link = Utiliser un code de secours
passkey-title = Connectez-vous avec votre clé d’accès
passkey-lead = Votre navigateur demande votre empreinte, votre visage ou le code de votre appareil.
passkey-ask = Utiliser la clé d’accès
passkey-failed = La clé d’accès n’a pas été utilisée. Réessayez, ou revenez en arrière et utilisez votre mot de passe.
passkey-needs-script = Les clés d’accès ont besoin de JavaScript, qui est désactivé ici. Tout le reste fonctionne sans.

## Registering

register-title = Ouvrez un compte
register = Ouvrir le compte
have-account-link = Vous avez déjà un compte ? Connectez-vous
resend-link = Pas de message reçu ? Renvoyez-le

## Mails and what they bring

send-mail = Envoyer le message
forgot-title = Obtenez un nouveau mot de passe
forgot-lead = Nous envoyons un message avec un lien si un compte existe à cette adresse.
forgot-again-link = Demander un autre message
resend-title = Renvoyer le message
resend-lead = Si cette adresse attend d’être vérifiée, nous renvoyons le message.
send-unlock-title = Débloquez votre compte
send-unlock-lead = Après trop d’échecs, un compte est bloqué pour un moment. Nous envoyons un message avec un lien qui le débloque aussitôt.
verify-title = Vérifiez votre adresse e-mail
verify-lead = Vous confirmez ainsi que l’adresse est la vôtre.
verify-button = Vérifier l’adresse
unlock-title = Débloquez votre compte
unlock-lead = Les échecs précédents sont oubliés. Vous vous connectez avec votre mot de passe, comme toujours.
unlock-button = Débloquer
keep-title = Conservez votre adresse e-mail
keep-lead = Vous n’avez pas demandé d’autre adresse ? Conservez celle-ci : toutes les sessions prennent fin et nous vous envoyons un lien pour un nouveau mot de passe.
keep-button = Conserver l’adresse
reset-title = Choisissez un nouveau mot de passe
reset-lead = Toutes les sessions prennent fin, sur tous les appareils.
set-password = Définir le mot de passe

## The page of a person

security-title = Votre compte
sessions-title = Où vous êtes connecté
session-without-name = Session sans nom
this-session = Cette session
session-name = Nom de la session
last-used = dernière utilisation :
last-log-in = Dernière connexion :
added = Date d’ajout :
end-session = Mettre fin
end-others = Mettre fin à toutes les autres sessions
devices-title = Appareils de confiance
devices-lead = Avec ceux-ci, vous pouvez vous connecter même si des tentatives étrangères bloquent votre compte.
devices-none = Il n’y en a aucun.
factors-title = Seconds facteurs
authenticator = Application d’authentification
authenticator-none = Aucune : les codes d’une application vous protègent si quelqu’un apprend votre mot de passe.
passkey = Clé d’accès
recovery-codes-left =
    { $number ->
        [one] Il reste { $number } code de secours.
       *[other] Il reste { $number } codes de secours.
    }
program-on-system = { $program } sur { $system }

## Changing what protects the account

password-title = Changez votre mot de passe
password-lead = Toutes les autres sessions prennent fin.
change-password = Changer le mot de passe
authenticator-title = Ajoutez une application d’authentification
authenticator-lead = Elle affiche un code qui change toutes les trente secondes, à saisir lors de la connexion.
secret-lead = Saisissez cette clé dans l’application, puis le code qu’elle affiche.
secret-link = Ouvrir l’application sur cet appareil
add-authenticator = Ajouter l’application
factor-added = C’est actif dès maintenant, et toutes les autres sessions ont pris fin.
recovery-codes-title = Conservez vos codes de secours
recovery-codes-lead = Notez-les ou imprimez-les : chacun ouvre votre compte une fois si le second facteur est perdu. Ils ne sont affichés que maintenant.
recovery-codes-kept = Vos codes de secours restent valables.
recovery-codes-done = Je les ai conservés
add-passkey-title = Ajoutez une clé d’accès
add-passkey-lead = Elle vous connecte avec votre empreinte, votre visage ou le code de votre appareil, sans mot de passe.
add-passkey-name-lead = Donnez-lui un nom qui vous permettra de la reconnaître.
passkey-name = Nom de la clé d’accès
passkey-name-default = Mon appareil
add-passkey = Ajouter une clé d’accès

## What was done

said-registered = Consultez votre messagerie : un message vous indique la suite.
said-mail-sent = Si l’adresse est connue ici, un message est en route.
said-verified = Votre adresse est vérifiée. Vous pouvez vous connecter.
said-unlocked = Votre compte est débloqué. Connectez-vous avec votre mot de passe.
said-kept = Votre adresse est conservée. Un message contient un lien pour un nouveau mot de passe.
said-password-set = Le nouveau mot de passe est défini. Connectez-vous avec lui.
said-signed-out = Vous êtes déconnecté.
said-ended = La session a pris fin. Reconnectez-vous.
said-password-changed = Le mot de passe a changé et toutes les autres sessions ont pris fin.
said-session-named = La session a son nouveau nom.
said-session-ended = La session a pris fin.
said-others-ended = Toutes les autres sessions ont pris fin.
said-device-removed = L’appareil n’est plus de confiance.
said-factor-removed = Le second facteur est supprimé et toutes les autres sessions ont pris fin.

## What is wrong with a field

fault-email = Saisissez une adresse e-mail comme alice@example.com.
fault-full_name = Saisissez votre nom : de 1 à 200 caractères.
fault-name = Saisissez un nom : de 1 à 64 caractères.
fault-password = Saisissez votre mot de passe.
fault-code = Saisissez le code.
fault-too_short = Il faut au moins { $min } caractères.
fault-too_long = Il a au plus { $max } caractères et { $max_bytes } octets.
fault-low_diversity = Il faut au moins { $min_distinct } caractères différents.
fault-letters_and_digits = Il faut des lettres et des chiffres.
fault-too_guessable = Il est trop facile à deviner. Quelques mots sans rapport entre eux valent mieux.
fault-common = C’est un mot de passe ou un mot courant.
fault-contains_context = Il ne doit contenir ni votre nom, ni votre adresse, ni le nom de la banque.
fault-breached = Il figure dans une liste de mots de passe volés.
fault-reused = C’est le mot de passe que vous avez déjà.
fault-other = Ceci ne peut pas être accepté.

## Why something was refused; by the names of problem types

problem-invalid-credentials = L’adresse e-mail ou le mot de passe est incorrect.
problem-too-many-attempts = Il y a eu trop de tentatives.
problem-auth-busy = Beaucoup de personnes se connectent en ce moment.
problem-unavailable = Cela n’est pas possible en ce moment.
problem-wrong-password = Le mot de passe actuel est incorrect.
problem-password-changed = Le mot de passe vient d’être changé ailleurs. Réessayez avec le nouveau.
problem-invalid-ticket = Le code ou le lien n’est pas valable, ou ne l’est plus. Demandez un nouveau message.
problem-invalid-challenge = Cela a pris trop de temps, ou trop de codes étaient faux. Reconnectez-vous.
problem-wrong-code = Le code est faux ou a déjà servi. Attendez le suivant.
problem-passkey-refused = La clé d’accès n’a pas été acceptée.
problem-passkeys-off = Il n’y a pas de clés d’accès ici. Utilisez votre mot de passe.
problem-too-many-passkeys = Vous avez déjà le nombre maximal de clés d’accès. Supprimez-en une d’abord.
problem-step-up-required = Confirmez avec un code de votre application d’authentification ou un code de secours.
problem-factor-exists = Vous avez déjà une application d’authentification. Supprimez-la d’abord.
problem-enrolment-over = Cela a pris trop de temps. Recommencez.
problem-no-second-factor = Vous n’avez pas de second facteur.
problem-session-not-found = Cette session a déjà pris fin.
problem-not-found = Cela n’existe plus.
problem-form-refused = Ce formulaire n’a pas été envoyé depuis cette page, ou est resté ouvert trop longtemps. Rien n’a été fait.
problem-other = Une erreur s’est produite de notre côté. Réessayez.

## When to try again

wait-seconds =
    { $number ->
        [one] Réessayez dans { $number } seconde.
       *[other] Réessayez dans { $number } secondes.
    }
wait-minutes =
    { $number ->
        [one] Réessayez dans { $number } minute.
       *[other] Réessayez dans { $number } minutes.
    }
wait-hours =
    { $number ->
        [one] Réessayez dans { $number } heure.
       *[other] Réessayez dans { $number } heures.
    }

## Dates

moment = { $day } { $month } { $year } à { $time } UTC
month-1 = janvier
month-2 = février
month-3 = mars
month-4 = avril
month-5 = mai
month-6 = juin
month-7 = juillet
month-8 = août
month-9 = septembre
month-10 = octobre
month-11 = novembre
month-12 = décembre

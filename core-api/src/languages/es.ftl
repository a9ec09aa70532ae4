# The texts of pages in Spanish. Every language has the same messages with the same variables.

## The frame of every page

title-fault = Se ha producido un error:
skip = Ir al contenido
language = Elegir idioma
log-out = Cerrar sesión
continue = Continuar
go-on = Seguir
or = o
save = Guardar
remove = Eliminar
rename = Cambiar el nombre
trouble-title = No ha funcionado
back-to-log-in = Volver al inicio de sesión
back-to-account = Volver a tu cuenta

## Fields

email = Correo electrónico
email-hint = Te enviaremos un correo para comprobarlo.
full-name = Nombre y apellidos
password = Contraseña
current-password = Contraseña actual
new-password = Contraseña nueva
new-password-hint = Unas cuantas palabras sin relación entre sí son largas, fáciles de recordar y difíciles de adivinar.
show-password = Mostrar
hide-password = Ocultar
code = Código de seis cifras
first-code = Código que muestra ahora la aplicación
confirming-code = Código de tu aplicación de autenticación o código de recuperación
confirming-code-hint = Tienes un segundo factor: confirma el cambio con él.
recovery-code = Código de recuperación
recovery-code-hint = Cada uno sirve una sola vez.
ticket = Código del correo
ticket-hint = Está debajo del botón del correo. Cópialo y pégalo aquí.

## Logging in

log-in-title = Inicia sesión en tu cuenta
log-in = Iniciar sesión
log-in-with-passkey = Iniciar sesión con una llave de acceso
register-link = Crear una cuenta
forgot-link = ¿Has olvidado tu contraseña?
send-unlock-link = ¿Se ha bloqueado tu acceso?
second-factor-title = Confirma que eres tú
second-factor-lead = Introduce el código que muestra tu aplicación de autenticación.
recovery-code-link = Usar un código de recuperación
passkey-title = Inicia sesión con tu llave de acceso
passkey-lead = Tu navegador te pedirá la huella, el rostro o el PIN de tu dispositivo.
passkey-ask = Usar la llave de acceso
passkey-failed = No se ha usado la llave de acceso. Inténtalo de nuevo o vuelve y entra con tu contraseña.
passkey-needs-script = Las llaves de acceso necesitan JavaScript, que aquí está desactivado. Todo lo demás funciona sin él.

## Registering

register-title = Crea una cuenta
register = Crear la cuenta
have-account-link = ¿Ya tienes una cuenta? Inicia sesión
resend-link = ¿No ha llegado el correo? Enviarlo de nuevo

## Mails and what they bring

send-mail = Enviar el correo
forgot-title = Consigue una contraseña nueva
forgot-lead = Enviaremos un correo con un enlace si esta dirección tiene una cuenta.
forgot-again-link = Pedir otro correo
resend-title = Enviar el correo de nuevo
resend-lead = Si esta dirección está pendiente de comprobación, enviaremos el correo otra vez.
send-unlock-title = Desbloquea tu cuenta
send-unlock-lead = Tras demasiados intentos fallidos, una cuenta se bloquea durante un tiempo. Enviaremos un correo con un enlace que la desbloquea al momento.
verify-title = Comprueba tu correo electrónico
verify-lead = Así confirmas que la dirección es tuya.
verify-button = Comprobar la dirección
unlock-title = Desbloquea tu cuenta
unlock-lead = Se olvidan los intentos fallidos anteriores. Entras con tu contraseña, como siempre.
unlock-button = Desbloquear
keep-title = Conserva tu correo electrónico
keep-lead = ¿No has pedido cambiar de dirección? Entonces conserva esta: se cerrarán todas las sesiones y te enviaremos un enlace para una contraseña nueva.
keep-button = Conservar la dirección
reset-title = Elige una contraseña nueva
reset-lead = Con esto se cierran todas las sesiones, en todos los dispositivos.
set-password = Guardar la contraseña

## The page of a person

security-title = Tu cuenta
sessions-title = Dónde has iniciado sesión
session-without-name = Sesión sin nombre
this-session = Esta sesión
session-name = Nombre de la sesión
last-used = último uso:
last-log-in = Último inicio de sesión:
added = Fecha de alta:
end-session = Cerrar
end-others = Cerrar todas las demás sesiones
devices-title = Dispositivos de confianza
devices-lead = Con estos puedes entrar aunque intentos ajenos bloqueen tu cuenta.
devices-none = No hay ninguno.
factors-title = Segundos factores
authenticator = Aplicación de autenticación
authenticator-none = Ninguna: los códigos de una aplicación te protegen si alguien averigua tu contraseña.
passkey = Llave de acceso
recovery-codes-left =
    { $number ->
        [one] Queda un código de recuperación.
       *[other] Quedan { $number } códigos de recuperación.
    }
program-on-system = { $program } en { $system }

## Changing what protects the account

password-title = Cambia tu contraseña
password-lead = Se cierran todas las demás sesiones.
change-password = Cambiar la contraseña
authenticator-title = Añade una aplicación de autenticación
authenticator-lead = Muestra un código que cambia cada medio minuto y que introduces al iniciar sesión.
secret-lead = Introduce esta clave en la aplicación y después el código que muestra.
secret-link = Abrir la aplicación en este dispositivo
add-authenticator = Añadir la aplicación
factor-added = Ya está activo, y se han cerrado todas las demás sesiones.
recovery-codes-title = Guarda tus códigos de recuperación
recovery-codes-lead = Anótalos o imprímelos: cada uno abre tu cuenta una vez si pierdes el segundo factor. Se muestran ahora y nunca más.
recovery-codes-kept = Los códigos de recuperación que tienes siguen sirviendo.
recovery-codes-done = Ya los he guardado
add-passkey-title = Añade una llave de acceso
add-passkey-lead = Te permite entrar con la huella, el rostro o el PIN de tu dispositivo, sin contraseña.
add-passkey-name-lead = Ponle un nombre por el que la reconozcas.
passkey-name = Nombre de la llave de acceso
passkey-name-default = Mi dispositivo
add-passkey = Añadir una llave de acceso

## What was done

said-registered = Mira tu correo: un mensaje explica cómo seguir.
said-mail-sent = Si conocemos la dirección, hay un correo en camino.
said-verified = Tu dirección está comprobada. Ya puedes iniciar sesión.
said-unlocked = Tu cuenta está desbloqueada. Inicia sesión con tu contraseña.
said-kept = Tu dirección se conserva. Un correo trae un enlace para una contraseña nueva.
said-password-set = La contraseña nueva está guardada. Inicia sesión con ella.
said-signed-out = Has cerrado la sesión.
said-ended = La sesión ha terminado. Inicia sesión de nuevo.
said-password-changed = La contraseña ha cambiado y se han cerrado todas las demás sesiones.
said-session-named = La sesión tiene su nuevo nombre.
said-session-ended = La sesión se ha cerrado.
said-others-ended = Se han cerrado todas las demás sesiones.
said-device-removed = El dispositivo ya no es de confianza.
said-factor-removed = El segundo factor se ha eliminado y se han cerrado todas las demás sesiones.

## What is wrong with a field

fault-email = Introduce una dirección de correo como alice@example.com.
fault-full_name = Introduce tu nombre: de 1 a 200 caracteres.
fault-name = Introduce un nombre: de 1 a 64 caracteres.
fault-password = Introduce tu contraseña.
fault-code = Introduce el código.
fault-too_short = Necesita al menos { $min } caracteres.
fault-too_long = Tiene como máximo { $max } caracteres y { $max_bytes } bytes.
fault-low_diversity = Necesita al menos { $min_distinct } caracteres distintos.
fault-letters_and_digits = Necesita letras y cifras.
fault-too_guessable = Es demasiado fácil de adivinar. Mejor unas cuantas palabras sin relación entre sí.
fault-common = Es una contraseña o palabra común.
fault-contains_context = No puede contener tu nombre, tu dirección ni el nombre del banco.
fault-breached = Está en una lista de contraseñas robadas.
fault-reused = Es la contraseña que ya tienes.
fault-other = Esto no se puede aceptar.

## Why something was refused; by the names of problem types

problem-invalid-credentials = El correo electrónico o la contraseña no son correctos.
problem-too-many-attempts = Ha habido demasiados intentos.
problem-auth-busy = Hay mucha gente iniciando sesión en este momento.
problem-unavailable = Esto no es posible en este momento.
problem-wrong-password = La contraseña actual no es correcta.
problem-password-changed = La contraseña se acaba de cambiar en otro lugar. Inténtalo con la nueva.
problem-invalid-ticket = El código o el enlace no es válido o ya no lo es. Pide un correo nuevo.
problem-invalid-challenge = Ha tardado demasiado o ha habido demasiados códigos incorrectos. Inicia sesión de nuevo.
problem-wrong-code = El código no es correcto o ya se ha usado. Espera al siguiente.
problem-passkey-refused = No se ha aceptado la llave de acceso.
problem-passkeys-off = Aquí no hay llaves de acceso. Usa tu contraseña.
problem-too-many-passkeys = Tienes el máximo de llaves de acceso. Elimina una antes.
problem-step-up-required = Confírmalo con un código de tu aplicación de autenticación o de recuperación.
problem-factor-exists = Ya tienes una aplicación de autenticación. Elimínala antes.
problem-enrolment-over = Ha tardado demasiado. Empieza de nuevo.
problem-no-second-factor = No tienes ningún segundo factor.
problem-session-not-found = Esa sesión ya se ha cerrado.
problem-not-found = Eso ya no existe.
problem-form-refused = Este formulario no se ha enviado desde esta página o llevaba demasiado tiempo abierto. No se ha hecho nada.
problem-other = Algo ha fallado por nuestra parte. Inténtalo de nuevo.

## When to try again

wait-seconds =
    { $number ->
        [one] Inténtalo de nuevo dentro de un segundo.
       *[other] Inténtalo de nuevo dentro de { $number } segundos.
    }
wait-minutes =
    { $number ->
        [one] Inténtalo de nuevo dentro de un minuto.
       *[other] Inténtalo de nuevo dentro de { $number } minutos.
    }
wait-hours =
    { $number ->
        [one] Inténtalo de nuevo dentro de una hora.
       *[other] Inténtalo de nuevo dentro de { $number } horas.
    }

## Dates

moment = { $day } de { $month } de { $year }, { $time } UTC
month-1 = enero
month-2 = febrero
month-3 = marzo
month-4 = abril
month-5 = mayo
month-6 = junio
month-7 = julio
month-8 = agosto
month-9 = septiembre
month-10 = octubre
month-11 = noviembre
month-12 = diciembre

// Pages work without this, but for passkeys. It fetches nothing: what it finds out goes into a form of the page.
"use strict";

// The ticket of a mail stands behind the `#` of its link, which no server is told.
for (const form of document.querySelectorAll("form[data-from-fragment]")) {
  const ticket = location.hash.slice(1);
  if (/^[\w-]{43}$/.test(ticket)) {
    form.elements[form.dataset.fromFragment].value = ticket;
    history.replaceState(null, "", location.pathname);
  }
}

// A password may be looked at while it is typed.
for (const field of document.querySelectorAll("input[type=password]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "reveal quiet";
  button.textContent = field.dataset.show;
  button.setAttribute("aria-controls", field.id);
  const show = (isShown) => {
    field.type = isShown ? "text" : "password";
    button.textContent = isShown ? field.dataset.hide : field.dataset.show;
    button.setAttribute("aria-pressed", String(isShown));
  };
  show(false);
  button.addEventListener("click", () => show(field.type === "password"));
  // What is sent is a password to the browser, and is kept by no list of what was typed.
  field.form.addEventListener("submit", () => show(false));
  field.after(button);
  field.parentElement.classList.add("revealing");
}

const hasPasskeys = typeof PublicKeyCredential === "function"
  && typeof PublicKeyCredential.parseRequestOptionsFromJSON === "function";
for (const form of document.querySelectorAll("[data-needs-passkeys]")) {
  form.hidden = !hasPasskeys;
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const failed = document.querySelector("[data-failed]");
  const ask = async () => {
    failed.hidden = true;
    try {
      const options = JSON.parse(form.dataset.options);
      const credential = form.dataset.passkey === "create"
        ? await navigator.credentials.create({publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)})
        : await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)});
      form.elements.credential.value = JSON.stringify(credential);
      form.submit();
    } catch (error) {
      failed.hidden = false;
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  // Whoever has asked for it need not ask twice.
  if (form.dataset.passkey === "get") {
    ask();
  }
}

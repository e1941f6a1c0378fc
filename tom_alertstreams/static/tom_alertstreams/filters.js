// Forms whose answers have an address, <form hx-push-url="true">: the way back brings what was chosen in them too.
(() => {
  "use strict";

  // HTMX keeps what the server wrote into fields, not what was chosen in them since.
  document.addEventListener("htmx:historyRestore", () => {
    for (const [name, value] of new URLSearchParams(location.search)) {
      const field = document.querySelector(`form[hx-push-url] [name="${CSS.escape(name)}"]`);
      if (field) field.value = value;
    }
  });
  // Enter in a field that was changed tells of a change and of a submission: one step, not two.
  document.addEventListener("htmx:beforeHistoryUpdate", ({ detail: { history } }) => {
    if (new URL(history.path, location).href === location.href) history.type = "replace";
  });
})();

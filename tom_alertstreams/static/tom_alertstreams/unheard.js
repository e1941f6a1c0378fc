// Says where a request was not answered as it should, and what then: <form hx-get="…" data-unheard="try again.">
// <div id="unheard" role="status"></div>
(() => {
  "use strict";

  const say = (words) => {
    const status = document.getElementById("unheard"); // looked for each time: "back" brings another one
    if (status.textContent !== words) status.textContent = words; // the same words are not read out again
    status.classList.toggle("stale-page", words !== "");
  };

  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    // Where the answer has taken the form away, HTMX tells it of what was around it.
    const asked = detail.requestConfig.elt.closest("[data-unheard]");
    if (!asked) return;
    const { status } = detail.xhr;
    const trouble = status ? `The server answers with an error (${status})` : "The server does not answer";
    say(detail.successful ? "" : `${trouble}; ${asked.dataset.unheard}`);
  });
  // A page that was kept was kept with its words.
  document.addEventListener("htmx:historyRestore", () => say(""));
})();

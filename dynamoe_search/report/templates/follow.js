// Load the page again when the log has grown; what was unfolded stays so.
const KEY = "unfolded";
const unfolded = () => [...document.querySelectorAll("details[open] > section")];
for (const anchor of JSON.parse(sessionStorage.getItem(KEY) ?? "[]")) {
  document.getElementById(anchor)?.closest("details").setAttribute("open", "");
}
function follow(version) {
  const status = document.querySelector("[role=status]");
  setInterval(async () => {
    try {
      const answer = await fetch("version");
      if (!answer.ok) throw new Error(await answer.text());
      if (await answer.text() === version) return;
      sessionStorage.setItem(KEY, JSON.stringify(unfolded().map((one) => one.id)));
      location.reload();
    } catch {
      status.textContent = "No longer live: the server does not answer.";
    }
  }, 2000);
}

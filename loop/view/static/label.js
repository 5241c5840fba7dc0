"use strict";
(function () {
  var tasks = Array.prototype.slice.call(document.querySelectorAll("#tasks button"));
  var choices = Array.prototype.slice.call(document.querySelectorAll(".choices button"));
  var large = document.getElementById("large"), at = -1, sending = false;

  function text(id, words) { document.getElementById(id).textContent = words; }

  function note(id, words) {
    var element = document.getElementById(id);
    element.hidden = !words;
    if (words && id === "problem") element.textContent = words;
  }

  function next(from) {
    for (var i = 1; i <= tasks.length; i++) {
      var number = (from + i) % tasks.length;
      if (!tasks[number].dataset.label) return number;
    }
    return Math.min(from + 1, tasks.length - 1);
  }

  function show(number) {
    if (number < 0 || number >= tasks.length) return;
    if (at >= 0) tasks[at].removeAttribute("aria-current");
    at = number;
    var task = tasks[at].dataset, after = tasks[next(at)];
    tasks[at].setAttribute("aria-current", "true");
    tasks[at].parentNode.parentNode.scrollLeft =
      tasks[at].parentNode.offsetLeft - large.parentNode.clientWidth / 2;
    large.src = "/picture/" + task.key;
    large.alt = task.name;
    text("number", (at + 1) + ".");
    text("name", task.name);
    text("given", task.label);
    choices.forEach(function (choice) {
      var chosen = !!task.label && choice.dataset.label === task.label;
      choice.setAttribute("aria-pressed", String(chosen));
    });
    if (after) new Image().src = "/picture/" + after.dataset.key;
    count();
  }

  function count() {
    var done = tasks.filter(function (task) { return task.dataset.label; }).length;
    text("done", String(done));
    note("finished", done === tasks.length);
  }

  function answer(label) {
    if (sending || at < 0) return;
    var number = at, task = tasks[at];
    sending = true;
    note("problem", "");
    fetch("/label", {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        "X-Coreloop-Token": document.body.dataset.postToken
      },
      body: JSON.stringify({ key: task.dataset.key, label: label, before: task.dataset.label })
    }).then(function (reply) {
      if (reply.headers.get("content-type") !== "application/json") {
        return reply.text().then(function (words) { throw new Error(words); });
      }
      return reply.json().then(function (said) {
        if (said.error) throw new Error(said.error);
        task.dataset.label = said.label;
        show(label ? next(number) : number);
      });
    }).catch(function (error) {
      var lost = error instanceof TypeError;
      note("problem", lost ? "No answer: 'coreloop view' has ended. Nothing was written."
        : error.message + " (load the page anew to see the sheet as it is)");
    }).then(function () { sending = false; });
  }

  tasks.forEach(function (task, number) {
    task.addEventListener("click", function () { show(number); });
  });
  choices.forEach(function (choice) {
    choice.addEventListener("click", function () { answer(choice.dataset.label); });
  });
  document.getElementById("previous").addEventListener("click", function () { show(at - 1); });
  document.getElementById("following").addEventListener("click", function () { show(at + 1); });
  document.addEventListener("keydown", function (event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
    var by = choices.filter(function (choice) {
      return choice.getAttribute("aria-keyshortcuts") === event.key;
    })[0];
    if (by) answer(by.dataset.label);
    else if (event.key === "ArrowLeft") show(at - 1);
    else if (event.key === "ArrowRight") show(at + 1);
    else return;
    event.preventDefault();
  });

  count();
  if (tasks.length) show(next(tasks.length - 1));
})();

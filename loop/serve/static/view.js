"use strict";
(function () {
  var body = document.body, changed = document.getElementById("changed");

  function look() {
    if (document.hidden || !body.dataset.version || !changed.hidden) return;
    fetch("/version").then(function (answer) { return answer.json(); }).then(function (now) {
      if (now.version !== body.dataset.version) changed.hidden = false;
    }).catch(function () { /* the server has ended: there is nothing to tell */ });
  }
  setInterval(look, 5000);

  document.addEventListener("keydown", function (event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    var rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    var link = rel && document.querySelector('a[rel="' + rel + '"]');
    if (link) link.click();
  });
})();

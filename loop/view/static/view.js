"use strict";
(function () {
  var body = document.body, changed = document.getElementById("changed");

  function look() {
    if (document.hidden || !body.dataset.version || !changed.hidden) return;
    fetch("/version").then(function (answer) { return answer.json(); }).then(function (now) {
      if (now.version && now.version !== body.dataset.version) changed.hidden = false;
    }).catch(function () { /* the server has ended: there is nothing to tell */ });
  }
  setInterval(look, 5000);

  var current = document.querySelector("header [aria-current]");
  if (current) current.parentNode.scrollLeft = current.offsetLeft - 60; // on a phone the line is long

  document.addEventListener("keydown", function (event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    var rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    var link = rel && document.querySelector('a[rel="' + rel + '"]');
    if (link) link.click();
  });

  var map = document.querySelector(".map"), shown = document.getElementById("shown");
  function show(event) {
    var key = event.target.dataset && event.target.dataset.key;
    if (!key || shown.dataset.key === key) return;
    var link = document.createElement("a"), picture = document.createElement("img");
    shown.dataset.key = key;
    shown.textContent = "";
    link.href = "/image/" + key;
    picture.src = "/thumbnail/" + key;
    picture.alt = "";
    link.append(picture, event.target.textContent);
    shown.append(link);
  }
  if (map) {
    map.addEventListener("click", show);
    map.addEventListener("mouseover", show);
  }
})();

"use strict";

// Text of others (names of files, sentences, messages) is only ever set as textContent.
const $ = (id) => document.getElementById(id);
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
const FRAMES = 10;
const player = $("player");

let limits = null; // what the server says about itself
let video = null; // {file, url, stop, id, ready, duration, answers, asked}
let playing = null; // {moment, marks}: the player stops at its end
let drawn = 0; // the next frame of the page

function clock(second) {
  const tenths = Math.round(second * 10), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// Show what is done, and how far it is: a share, -1 if that is unknown, nothing at the end
function say(text, share) {
  $("status").textContent = text;
  $("progress").hidden = share === undefined;
  if (share >= 0) $("progress").value = share;
  else $("progress").removeAttribute("value");
}

function complain(error) {
  const text = error.message, ending = /[.?!]$/.test(text) ? "" : ".";
  say("");
  $("error").textContent = `${text.charAt(0).toUpperCase()}${text.slice(1)}${ending}`;
  $("error").scrollIntoView({ block: "nearest" });
}

async function call(path, options = {}) {
  const response = await fetch(path, { signal: video?.stop.signal, ...options }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The server does not answer. Is it still running?");
  });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error || `The server answers ${response.status}`);
}

function save(blob, ending) {
  const name = `${video.file.name.replace(/\.[^.]*$/, "") || "video"}${ending}`;
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const once = (target, kind) => new Promise((done, fail) => {
  target.addEventListener(kind, done, { once: true });
  target.addEventListener("error", fail, { once: true });
});

// The video: choose, send, follow its encoding

function leave() {
  if (!video) return;
  video.stop.abort();
  player.removeAttribute("src");
  player.load();
  URL.revokeObjectURL(video.url);
  if (video.id) fetch(`videos/${video.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
  video = playing = null;
  for (const id of ["watch", "timeline", "legend"]) $(id).hidden = true;
  for (const id of ["strip", "axis", "answers"]) $(id).replaceChildren();
  $("chooser").hidden = false;
  $("error").textContent = "";
  say("");
}

async function choose(file) {
  leave();
  const mine = { file, url: URL.createObjectURL(file), stop: new AbortController(), duration: NaN, answers: [] };
  video = mine;
  $("error").textContent = "";
  try {
    if (!file.size) throw new Error("The file is empty");
    if (file.size > limits?.max_bytes) throw new Error(`The file has ${Math.ceil(file.size / 1e6)} MB; ${limits.max_bytes / 1e6} MB is the most`);
    say("Opening the video", -1);
    player.src = mine.url;
    const playable = await once(player, "loadedmetadata").then(() => player.videoWidth > 0, () => false);
    if (mine !== video) return;
    const known = playable && player.duration < Infinity; // a recording made in a browser does not state its length
    if (known && player.duration > limits?.max_sec) throw new Error(`The video is ${clock(player.duration)} long; ${clock(limits.max_sec)} is the most`);
    $("name").textContent = file.name;
    $("chooser").hidden = true;
    $("watch").hidden = false;
    player.hidden = $("strip").hidden = !playable;
    $("mute").hidden = playable;
    if (known) lay(player.duration);
    if (known) draw(mine).catch(() => {});
    mine.id = (await (await call("videos", { method: "POST", body: file })).json()).id;
    await encoded(mine);
    if (playable && !known) draw(mine).catch(() => {});
    if (mine === video && mine.asked) await ask();
  } catch (error) {
    if (mine !== video) return;
    leave();
    complain(error);
    $("file").focus();
  }
}

async function encoded(mine) {
  for (; mine === video; await new Promise((done) => setTimeout(done, 250))) {
    const now = await (await call(`videos/${mine.id}`)).json();
    if (now.state === "ready") {
      lay(now.duration_sec);
      mine.ready = true;
      return say(now.defects ? `The file is damaged: ${now.defects}.` : "Ready.");
    }
    const after = mine.asked ? "; the answer follows" : "", length = mine.duration ? ` of ${clock(mine.duration)}` : "";
    if (now.state === "waiting") say(`Waiting for other videos${after}`, -1);
    else say(`Reading the video, ${clock(now.second)}${length}${after}`, now.second / mine.duration || -1);
  }
}

// Show the timeline of a video
function lay(duration) {
  video.duration = duration;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => make("span", { textContent: clock(share * duration) }));
  $("axis").replaceChildren(...ticks);
  $("timeline").hidden = false;
}

// Draw its frames
async function draw(mine) {
  const source = make("video", { muted: true, preload: "auto", src: mine.url }), length = mine.duration;
  await once(source, "loadeddata");
  for (let index = 0; index < FRAMES; index++) {
    source.currentTime = length * (index + 0.5) / FRAMES;
    await once(source, "seeked");
    if (mine !== video) return;
    const canvas = make("canvas", { height: 128, width: 128 * source.videoWidth / source.videoHeight });
    canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
    $("strip").append(canvas);
  }
}

// Sentences and their answers

async function ask() {
  const sentences = [...new Set($("sentences").value.split("\n").map((each) => each.trim()).filter(Boolean))], mine = video;
  $("error").textContent = "";
  if (!sentences.length) return complain(new Error("Write a sentence: what happens in the moment?"));
  if (!mine) return complain(new Error("Choose a video first"));
  mine.asked = true;
  if (!mine.ready) return; // choose() asks again
  say("Looking for it", -1);
  await attempt($("find"), async () => {
    const found = await (await call(`videos/${mine.id}/answers`, { method: "POST", body: sentences.join("\n") })).json();
    if (mine !== video) return;
    mine.answers = [...found, ...mine.answers.filter((old) => !sentences.includes(old.query))];
    $("answers").replaceChildren(...mine.answers.map(article));
    $("legend").hidden = false;
    $("answers").firstElementChild.scrollIntoView({ block: "nearest" });
    const [{ start_sec, end_sec }] = found[0].moments;
    say(`Found: ${clock(start_sec)} to ${clock(end_sec)}${found.length > 1 ? `, and ${found.length - 1} more` : ""}.`);
  });
}

// Do what a button is for, and show the error if the video is still there
async function attempt(button, job) {
  const mine = video, focused = document.activeElement === button;
  button.disabled = true;
  await job().catch((error) => { if (mine === video) complain(error); });
  button.disabled = false;
  if (focused && document.activeElement === document.body) button.focus({ preventScroll: true }); // disabling took it away
}

function article(answer) {
  const made = $("answer").content.cloneNode(true).firstElementChild, [title, unknown, track, list] = made.children;
  title.textContent = answer.query;
  unknown.hidden = !answer.unknown_words.length;
  unknown.textContent = `Words that the model does not know: ${answer.unknown_words.join(", ")}`;
  const parts = answer.attention, most = parts.reduce((one, other) => Math.max(one, other), 0);
  const steps = parts.map((part, index) => `V${100 - 92 * part / most}H${100 * (index + 1) / parts.length}`);
  if (most > 0) track.querySelector("path").setAttribute("d", `M0,100${steps.join("")}V100Z`);
  answer.moments.forEach((moment, index) => {
    const item = $("moment").content.cloneNode(true).firstElementChild, [play, score, clip] = item.children;
    const [start, end] = [clock(moment.start_sec), clock(moment.end_sec)];
    const bar = make("div", { className: index ? "bar" : "bar best" });
    bar.title = play.textContent = `${start} \u2013 ${end}`;
    bar.style.left = `${100 * moment.start_sec / video.duration}%`;
    bar.style.width = `${100 * (moment.end_sec - moment.start_sec) / video.duration}%`;
    play.disabled = player.hidden;
    play.setAttribute("aria-label", `Play moment ${index + 1} of ${answer.moments.length}, ${start} to ${end}`);
    score.textContent = `score ${moment.score.toFixed(2)}`;
    clip.setAttribute("aria-label", `Download moment ${index + 1}, ${start} to ${end}`);
    play.onclick = bar.onclick = (event) => { event.stopPropagation(); watch(moment, [play, bar]); };
    const [first, last] = [moment.start_sec, moment.end_sec].map((each) => each.toFixed(2));
    clip.onclick = () => attempt(clip, async () => {
      save(await (await call(`videos/${video.id}/clip/${first}/${last}`)).blob(), `_${first}-${last}.mp4`);
    });
    track.append(bar);
    list.append(item);
  });
  track.onclick = seek;
  return made;
}

// The player

function watch(moment, marks) {
  unmark();
  playing = { moment, marks };
  for (const each of marks) each.classList.add("on");
  player.currentTime = moment.start_sec;
  player.play().catch(() => {});
  player.scrollIntoView({ block: "nearest" });
}

function unmark() {
  for (const each of playing?.marks || []) each.classList.remove("on");
  playing = null;
}

function seek(event) {
  const { left, width } = event.currentTarget.getBoundingClientRect();
  unmark();
  player.currentTime = video.duration * (event.clientX - left) / width;
}

player.onplay = player.onseeked = player.ontimeupdate = function follow() {
  if (!video) return;
  $("timeline").style.setProperty("--now", `${100 * player.currentTime / video.duration || 0}%`);
  if (playing && !player.seeking && (player.ended || player.currentTime >= playing.moment.end_sec)) {
    player.pause();
    unmark();
  }
  cancelAnimationFrame(drawn);
  if (!player.paused) drawn = requestAnimationFrame(follow);
};
player.onseeking = () => { // by the visitor, who leaves the moment
  if (playing && Math.abs(player.currentTime - playing.moment.start_sec) > 0.05) unmark();
};

// Start

$("form").onsubmit = (event) => { event.preventDefault(); ask(); };
$("sentences").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
};
$("file").onchange = () => { if ($("file").files[0]) choose($("file").files[0]); $("file").value = ""; };
$("other").onclick = () => { leave(); $("file").focus(); };
$("json").onclick = () => {
  const content = { video: video.file.name, duration_sec: video.duration, answers: video.answers };
  save(new Blob([JSON.stringify(content, null, 2)]), ".json");
};
$("strip").onclick = seek;
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
});
addEventListener("pagehide", leave);

call("about").then((response) => response.json()).then((about) => {
  limits = about;
  $("model").textContent = about.model;
  $("limits").textContent = `up to ${about.max_bytes / 1e6} MB and ${about.max_sec / 60} minutes`;
  about.examples.forEach(({ file, sentences }, index) => {
    const show = () => call(`examples/${file}`).then((response) => response.blob()).then((bytes) => {
      $("sentences").value = sentences.join("\n");
      choose(new File([bytes], file));
    }).catch(complain);
    $("examples").append(make("button", { textContent: `Example ${index + 1}`, onclick: show }));
  });
}).catch(complain);

"use strict";
// Pages work without this script. The script keeps a page that shows a state fresh, follows changes, and shows the
// progress of uploads.

// refresh replaces the live parts of the page by those of a new copy, while somebody can see them.
const seconds = Number(document.body.dataset.refresh);
if (seconds) {
	let pending = false;
	const refresh = async () => {
		if (document.hidden || pending) return;
		pending = true;
		try {
			const answer = await fetch(location.href, {headers: {Accept: "text/html"}});
			if (!answer.ok || answer.redirected) return;
			const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
			for (const old of document.querySelectorAll("[data-live]")) {
				const next = fresh.getElementById(old.id);
				if (next && !old.contains(document.activeElement) && next.outerHTML !== old.outerHTML) old.replaceWith(document.adoptNode(next));
			}
		} catch {
			// the server is away: the next attempt is soon
		} finally {
			pending = false;
		}
	};
	setInterval(refresh, seconds * 1000);
	document.addEventListener("visibilitychange", refresh);
}

// The current page is visible in the navigation of a phone.
document.querySelector(".side [aria-current]")?.scrollIntoView({block: "nearest", inline: "center"});

// element makes an element with a class and a text. Texts of clients are never markup.
const element = (name, className, text) => {
	const e = document.createElement(name);
	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
};

const size = n => {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;
	for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
	return (i ? n.toPrecision(3) : n) + " " + units[i];
};

// The feed goes on where the page ends, the newest change first.
const feed = document.getElementById("feed");
if (feed) {
	const {root, since, prefix} = feed.dataset, state = document.getElementById("feed-state"), empty = document.getElementById("feed-empty"), most = 200;
	const show = (text, on) => {
		if (state.textContent !== text) state.textContent = text;
		state.classList.toggle("on", on);
	};
	const cell = (row, className, ...parts) => {
		const td = element("td", className);
		td.append(...parts);
		row.append(td);
	};
	const add = change => {
		const row = element("tr", "fresh"), link = element("a", "", change.key);
		link.href = root + "console/key?key=" + encodeURIComponent(change.key);
		cell(row, "name", link);
		if (change.deleted) cell(row, "", element("span", "badge bad", "deleted"));
		else cell(row, "", element("span", "badge ok", "written"), " ", element("span", "faint", size(change.size)));
		cell(row, "rare faint", change.origin);
		cell(row, "number rare faint", String(change.revision));
		cell(row, "number", element("time", "", new Date(change.modified_at).toLocaleTimeString()));
		feed.prepend(row);
		while (feed.rows.length > most) feed.lastElementChild.remove();
		empty.hidden = true;
	};
	feed.replaceChildren(...[...feed.rows].reverse());
	const source = new EventSource(root + "v1/changes?" + new URLSearchParams({since, prefix}));
	source.onopen = () => show("Live", true);
	source.onmessage = event => { if (event.data) add(JSON.parse(event.data)); };
	source.onerror = () => show(source.readyState === EventSource.CLOSED ? "Ended" : "Connecting again…", false);
	source.addEventListener("problem", event => {
		source.close();
		show(JSON.parse(event.data).title, false);
	});
	addEventListener("pagehide", () => source.close());
}

// Uploads go file by file, with their progress.
const form = document.querySelector("form[data-upload]");
form?.addEventListener("submit", async event => {
	event.preventDefault();
	const {upload, root} = form.dataset, list = form.querySelector(".uploads"), button = form.querySelector("button"), input = form.querySelector("input[type=file]");
	const put = file => new Promise(done => {
		const item = element("li"), note = element("span", "faint", "waiting"), bar = element("progress");
		bar.max = 1, bar.value = 0;
		bar.setAttribute("aria-label", "Upload of " + file.name);
		item.append(element("span", "name", file.name), note, bar);
		list.append(item);
		const request = new XMLHttpRequest();
		request.upload.onprogress = e => {
			bar.value = e.total ? e.loaded / e.total : 1;
			note.textContent = size(e.loaded) + " of " + size(e.total);
		};
		request.onloadend = () => {
			const stored = request.status >= 200 && request.status < 300;
			let text = "stored";
			if (!stored) {
				text = "not stored: the connection broke";
				try { text = JSON.parse(request.responseText).title; } catch { /* no problem document */ }
			}
			note.textContent = text;
			note.className = stored ? "badge ok" : "badge bad";
			bar.remove();
			done(stored);
		};
		request.open("PUT", root + "v1/files/" + encodeURIComponent(upload + file.name));
		request.setRequestHeader("Accept", "application/json");
		request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
		request.send(file);
	});
	button.disabled = true;
	list.replaceChildren();
	let whole = true;
	for (const file of [...input.files]) whole = await put(file) && whole;
	button.disabled = false;
	if (whole) location.reload();
});

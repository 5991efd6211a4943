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

(() => {
	const faults = [], shown = e => e.checkVisibility({visibilityProperty: true});
	const describe = e => `<${e.tagName.toLowerCase()}${e.id ? " id=" + e.id : ""} class="${e.getAttribute("class") ?? ""}"> ${(e.innerText ?? "").trim().slice(0, 40)}`;
	const parse = color => {
		const numbers = (color.match(/[\d.]+%?/g) ?? []).map(parseFloat);
		if (color.startsWith("color(srgb")) return [numbers[0] * 255, numbers[1] * 255, numbers[2] * 255, numbers[3] ?? 1];
		return [numbers[0], numbers[1], numbers[2], numbers[3] ?? 1];
	};
	const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const background = e => {
		const layers = [];
		for (; e; e = e.parentElement) {
			const c = parse(getComputedStyle(e).backgroundColor);
			layers.push(c);
			if (c[3] === 1) break;
		}
		return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
	};
	const luminance = c => {
		const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	// Text has a contrast of at least 4.5 (WCAG 2.2, 1.4.3).
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	const seen = new Set();
	for (let n; (n = walker.nextNode());) {
		const e = n.parentElement;
		if (!n.data.trim() || seen.has(e) || !shown(e) || e.closest("svg, script, option, .hidden, .skip, [disabled]")) continue;
		seen.add(e);
		const below = background(e), text = over(parse(getComputedStyle(e).color), below);
		const [light, dark] = [luminance(text), luminance(below)].sort((a, b) => b - a), ratio = (light + 0.05) / (dark + 0.05);
		if (ratio < 4.5) faults.push(`contrast ${ratio.toFixed(2)}: ${describe(e)}`);
	}
	for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
		if (!e.labels?.length && !e.ariaLabel) faults.push("no label: " + describe(e));
	for (const e of document.querySelectorAll("a[href], button, summary"))
		if (!(e.ariaLabel || e.textContent.trim())) faults.push("no name: " + describe(e));
	for (const e of document.querySelectorAll("img"))
		if (!e.alt) faults.push("no text in place of the image");
	for (const e of document.querySelectorAll("nav, [role=region], svg[role=img]"))
		if (!e.ariaLabel) faults.push("no name: " + describe(e));
	if (!document.documentElement.lang) faults.push("no language");
	const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
	for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) faults.push("several elements have the id " + id);
	if (document.querySelectorAll("h1").length !== 1) faults.push("the page has not one h1");
	let level = 0;
	for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
		if (Number(h.tagName[1]) > level + 1) faults.push("a level is left out before: " + describe(h));
		level = Number(h.tagName[1]);
	}
	// The focus follows the order of the document, and begins with the link to the content.
	for (const e of document.querySelectorAll("[tabindex]")) if (e.tabIndex > 0) faults.push("an order of its own: " + describe(e));
	const first = document.querySelector("a[href], button, input, select, textarea");
	if (first?.getAttribute("href") !== "#main" || !document.getElementById("main")) faults.push("no link to the content");
	if (document.documentElement.scrollWidth > innerWidth) faults.push(`the page is ${document.documentElement.scrollWidth} pixels wide`);
	for (const e of document.querySelectorAll("a.button, button, nav.side a, input:not([type=hidden]):not([type=checkbox]), select"))
		if (shown(e) && e.getBoundingClientRect().height < 24) faults.push("too low to be hit: " + describe(e));
	return faults;
})()

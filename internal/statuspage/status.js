// Keeps the page up to date: fetches it again and replaces what has changed.
"use strict";

const often = 1000; // milliseconds

async function update() {
	const offline = document.getElementById("offline");
	try {
		const answer = await fetch(location.href, { cache: "no-store" });
		if (!answer.ok) throw new Error(answer.statusText);
		const page = new DOMParser().parseFromString(await answer.text(), "text/html");
		const fresh = page.querySelector("main");
		const shown = document.querySelector("main");
		// Whoever is selecting text would lose the selection.
		if (String(getSelection()) === "") shown.replaceWith(document.adoptNode(fresh));
		offline.hidden = true;
	} catch {
		offline.hidden = false;
	}
}

async function live() {
	if (!document.hidden) await update();
	setTimeout(live, often);
}

setTimeout(live, often);

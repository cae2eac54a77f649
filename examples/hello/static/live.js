const line = document.getElementById("live");
const events = new EventSource("/events");
events.onmessage = (event) => { line.textContent = `served now by ${event.data}`; };
events.onerror = () => { line.textContent = "connecting …"; };

/* Browsers start no worker for a page that is opened from the disk, and the search is one. There an
   invisible frame runs its script instead: what either side posts is dispatched on the other. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.asked = []
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.inside = frame.contentWindow
      this.inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = frame.contentDocument.createElement("script")
      script.src = new URL(url, location.href)
      script.onload = () => {
        const asked = this.asked
        this.asked = undefined
        asked.forEach(data => this.postMessage(data))
      }
      frame.contentDocument.body.append(script)
    }

    postMessage(data) {
      if (this.asked) this.asked.push(data)
      else this.inside.dispatchEvent(new MessageEvent("message", { data }))
    }
  }
}

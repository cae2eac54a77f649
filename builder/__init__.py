"""Golden disk images, root trees and container base images: built without privileges, cached by content."""

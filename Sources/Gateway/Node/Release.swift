/// What this build calls itself, on the wire and on the command line.
package enum NodeRelease {
    package static let name = "0.1.0"
}

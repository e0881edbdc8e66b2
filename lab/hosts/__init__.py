"""Lab hosts: emulated machines on which Linux runs the real kvm_amd or kvm_intel, some of them broken on purpose."""

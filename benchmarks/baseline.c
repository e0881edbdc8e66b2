/*
 * The same ioctls as benchmarks/run.py makes through virtproof.vmm, from C.
 *
 * Reads numbers, one to a line, and answers each with the nanoseconds that it took:
 *
 *   0  one life: VM, 1 MiB slot, vCPU, real mode, OUT, HLT, teardown
 *   N  N round trips of OUT in one VM
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RAM = 1 << 20, CODE = 0x1000 };

struct vm {
	int fd, vcpu;
	void *ram;
	struct kvm_run *run;
	size_t run_size;
};

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int call(int fd, unsigned long number, void *argument)
{
	int answer = ioctl(fd, number, argument);
	if (answer < 0)
		err(1, "ioctl %#lx", number);
	return answer;
}

static void segment(struct kvm_segment *s, int type)
{
	*s = (struct kvm_segment){ .limit = 0xffff, .type = type, .present = 1, .s = 1 };
}

static struct vm boot(int kvm, size_t run_size, const char *code, size_t length)
{
	struct vm vm = { .run_size = run_size };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rdx = 0x510 };

	vm.fd = call(kvm, KVM_CREATE_VM, 0);
	vm.ram = mmap(0, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region slot = { .memory_size = RAM, .userspace_addr = (uintptr_t)vm.ram };
	call(vm.fd, KVM_SET_USER_MEMORY_REGION, &slot);
	vm.vcpu = call(vm.fd, KVM_CREATE_VCPU, 0);
	vm.run = mmap(0, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vm.vcpu, 0);
	if (vm.ram == MAP_FAILED || vm.run == MAP_FAILED)
		err(1, "mmap");
	memcpy((char *)vm.ram + CODE, code, length);
	call(vm.vcpu, KVM_GET_SREGS, &sregs);
	segment(&sregs.cs, 11);
	segment(&sregs.ds, 3);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	call(vm.vcpu, KVM_SET_SREGS, &sregs);
	call(vm.vcpu, KVM_SET_REGS, &regs);
	return vm;
}

static unsigned enter(struct vm *vm)
{
	call(vm->vcpu, KVM_RUN, 0);
	return vm->run->exit_reason;
}

static void expect(unsigned got, unsigned wanted)
{
	if (got != wanted)
		errx(1, "exit %u instead of %u", got, wanted);
}

static void end(struct vm *vm)
{
	munmap(vm->run, vm->run_size);
	close(vm->vcpu);
	close(vm->fd);
	munmap(vm->ram, RAM);
}

static void life(int kvm, size_t run_size)
{
	static const char once[] = "\xee\xf4"; /* out %al, %dx; hlt */
	struct vm vm = boot(kvm, run_size, once, sizeof once - 1);

	expect(enter(&vm), KVM_EXIT_IO);
	expect(enter(&vm), KVM_EXIT_HLT);
	end(&vm);
}

static int64_t exits(int kvm, size_t run_size, long count)
{
	static const char forever[] = "\xee\xeb\xfd"; /* out %al, %dx; jmp to it */
	volatile unsigned char last;
	struct vm vm = boot(kvm, run_size, forever, sizeof forever - 1);
	int64_t start = now();

	for (long i = 0; i < count; i++) {
		expect(enter(&vm), KVM_EXIT_IO);
		last = ((unsigned char *)vm.run)[vm.run->io.data_offset];
	}
	(void)last;
	int64_t taken = now() - start;
	end(&vm);
	return taken;
}

int main(void)
{
	long count;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		err(1, "/dev/kvm");
	size_t run_size = call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	while (scanf("%ld", &count) == 1) {
		int64_t start = now();
		if (count) {
			printf("%lld\n", (long long)exits(kvm, run_size, count));
		} else {
			life(kvm, run_size);
			printf("%lld\n", (long long)(now() - start));
		}
		fflush(stdout);
	}
	return 0;
}

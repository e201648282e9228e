import copy,fcntl,glob,io,lzma,math,os,random,time,numpy as np,torch,torch.distributed as dist,torch.nn.functional as F
from pathlib import Path
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
class Settings:
	data_dir=os.environ.get('DATA_DIR','./data/');seed=int(os.environ.get('SEED',1337));run=os.environ.get('RUN_ID','a');vocab_size=int(os.environ.get('VOCAB_SIZE','8192'));seq=int(os.environ.get('TRAIN_SEQ_LEN',2048));eval_seq=int(os.environ.get('EVAL_SEQ_LEN',2048));steps=int(os.environ.get('ITERATIONS',20000));batch_tokens=int(os.environ.get('TRAIN_BATCH_TOKENS',786432));dim=512;layers=11;lora_rank=int(os.environ.get('LORA_RANK',80));lora_lr=float(os.environ.get('LORA_LR',1e-4));chunk=int(os.environ.get('TTT_CHUNK',48));docs_per_batch=int(os.environ.get('TTT_BATCH',64));prefix_docs=int(os.environ.get('PREFIX_DOCS',2500));phases=int(os.environ.get('PHASES',3));global_lr=float(os.environ.get('GLOBAL_LR',.001));global_chunk=int(os.environ.get('GLOBAL_CHUNK',32768));ttt=bool(int(os.environ.get('TTT_ENABLED','1')));rank=int(os.environ.get('RANK','0'));world_size=int(os.environ.get('WORLD_SIZE','1'));distributed='RANK'in os.environ;files=os.path.join(data_dir,'datasets','fineweb10B_sp8192');train_files=os.path.join(files,'fineweb_train_*.bin');val_files=os.path.join(files,'fineweb_val_*.bin');model_path='model.bin';ema=.997
_settings=None
def use_settings(h):
	global _settings;_settings=h
def log(text,console=True):
	if _settings is None:print(text);return
	if _settings.rank==0:
		if console:print(text)
		with open('logs/run.txt','a')as f:print(text,file=f)
def read_shard(file):
	count=int(np.fromfile(file,dtype='<i4',count=256)[2]);return torch.from_numpy(np.fromfile(file,dtype='<u2',count=count,offset=1024).astype(np.uint16,copy=False))
class Validation:
	def __init__(self,h,device):
		files=[Path(p)for p in sorted(glob.glob(h.val_files))]
		if not files:raise FileNotFoundError(h.val_files)
		tokens=torch.cat([read_shard(f)for f in files]).contiguous();usable=(tokens.numel()-1)//h.eval_seq*h.eval_seq;self.tokens=tokens[:usable+1]
		tables=torch.load(os.path.join(h.files,'byte_tables.pt'),map_location=device);self.base,self.lead,self.edge=tables['base'],tables['lead'],tables['edge']
class ShuffledRows:
	def __init__(self,h,device):
		self.h,self.device=h,device;self.files=[Path(p)for p in sorted(glob.glob(h.train_files))][h.rank::h.world_size];self.rng=np.random.Generator(np.random.PCG64(h.rank));self.left=[np.array([],dtype=np.int64)for _ in self.files]
		for i in range(len(self.files)):self._refill(i)
	def _refill(self,i):
		n=int(np.fromfile(self.files[i],dtype='<i4',count=256)[2]);self.left[i]=self.rng.permutation((n-1)//self.h.seq)
	def next_batch(self,tokens,accum):
		rows=tokens//(self.h.world_size*accum)//self.h.seq;x=torch.empty((rows,self.h.seq),dtype=torch.int64);y=torch.empty((rows,self.h.seq),dtype=torch.int64)
		for r in range(rows):
			weights=np.array([len(s)for s in self.left],dtype=np.float64)
			if weights.sum()<=0:
				for i in range(len(self.files)):self._refill(i)
				weights=np.array([len(s)for s in self.left],dtype=np.float64)
			i=int(self.rng.choice(len(self.files),p=weights/weights.sum()));start=int(self.left[i][0])*self.h.seq;self.left[i]=self.left[i][1:];mm=np.memmap(self.files[i],mode='r',dtype='<u2',offset=1024);window=torch.as_tensor(np.array(mm[start:start+self.h.seq+1],dtype=np.int64));x[r]=window[:-1];y[r]=window[1:]
		return x.to(self.device,non_blocking=True),y.to(self.device,non_blocking=True)
class Layer(nn.Module):
	def __init__(self,dim):super().__init__();self.q=nn.Linear(dim,dim,bias=False);self.up=nn.Linear(dim,4*dim,bias=False);self.down=nn.Linear(4*dim,dim,bias=False)
	def forward(self,x):return x+self.down(F.leaky_relu(self.up(x+self.q(x)),.5).square())
class Net(nn.Module):
	def __init__(self,h):super().__init__();self.emb=nn.Embedding(h.vocab_size,h.dim);self.layers=nn.ModuleList([Layer(h.dim)for _ in range(h.layers)]);self.recurrent=False
	def _states(self,ids):
		x=F.rms_norm(self.emb(ids),(self.emb.weight.size(1),))
		for layer in self.layers:x=layer(x)
		return x
	def logits(self,ids):return 30*torch.tanh(F.linear(self._states(ids),self.emb.weight)/30)
	def forward(self,ids,targets,weights=None):
		out=self.logits(ids).float().flatten(0,1)
		if weights is None:return F.cross_entropy(out,targets.flatten(),reduction='mean')
		return (F.cross_entropy(out,targets.flatten(),reduction='none')*weights.flatten()).mean()
	def adapted(self,ids,targets,lora):
		s=self._states(ids);out=F.linear(s,self.emb.weight)+lora.delta(s);return F.cross_entropy(out.float().flatten(0,1),targets.flatten(),reduction='none').view(targets.shape)
class DocumentLoRA(nn.Module):
	def __init__(self,n,model,rank):
		super().__init__();self.n=n;d=model.emb.embedding_dim;v=model.emb.num_embeddings;self.A=nn.Parameter(torch.randn(n,rank,d)/math.sqrt(d));self.B=nn.Parameter(torch.zeros(n,v,rank))
	def reset(self):
		with torch.no_grad():self.B.zero_()
	def delta(self,x):return(x@self.A.mT)@self.B.mT
class Muon(torch.optim.Optimizer):
	def __init__(self,params,lr,momentum):super().__init__(params,dict(lr=lr,momentum=momentum))
	@torch.no_grad()
	def step(self,closure=None):
		for g in self.param_groups:
			for p in g['params']:
				if p.grad is not None:p.add_(p.grad.sign(),alpha=-g['lr'])
class Optimizers:
	def __init__(self,h,model):
		named=list(model.layers.named_parameters());self.matrix=Muon([p for n,p in named if p.ndim==2],lr=.02,momentum=.99);self.embed=torch.optim.AdamW([{'params':[model.emb.weight],'lr':.03,'base_lr':.03}],betas=(.9,.95),fused=True);self.all=[self.embed,self.matrix]
	def __iter__(self):return iter(self.all)
	def zero(self):
		for o in self.all:o.zero_grad(set_to_none=True)
	def step(self):
		for o in self.all:o.step()
		self.zero()
def train_model(h,device,val):
	model=Net(h).to(device).bfloat16();compiled=torch.compile(model,dynamic=False,fullgraph=True);wrapped=DDP(compiled)if h.distributed else compiled;opts=Optimizers(h,model);rows=ShuffledRows(h,device)
	def one_step(step,scale):
		opts.zero();total=torch.zeros((),device=device)
		for micro in range(8//h.world_size):
			x,y=rows.next_batch(h.batch_tokens,8//h.world_size)
			with torch.autocast(device_type='cuda',dtype=torch.bfloat16):loss=wrapped(x,y)
			total+=loss.detach();(loss/8).backward()
		for o in opts:
			for g in o.param_groups:g['lr']=g.get('base_lr',.02)*scale
		opts.step();return total
	first={k:v.detach().cpu().clone()for k,v in model.state_dict().items()}
	for w in range(20):one_step(w,1.)
	model.load_state_dict(first);opts.zero();rows=ShuffledRows(h,device);mean={k:v.detach().float().clone()for k,v in model.state_dict().items()};step=0
	while True:
		last=step==h.steps
		if last or step%4000==0:l,b=plain_eval(h,device,val,wrapped);log(f"{step}/{h.steps} val_loss: {l:.4f} val_bpb: {b:.4f}")
		if last:break
		one_step(step,1.)
		with torch.no_grad():
			for k,v in model.state_dict().items():mean[k].mul_(h.ema).add_(v.detach().float(),alpha=1-h.ema)
		step+=1
	model.load_state_dict({k:v.to(torch.bfloat16)for k,v in mean.items()});return model,compiled
def hessians(h,device,model):
	rows=ShuffledRows(h,device);found={};hooks=[]
	def watch(name):
		def hook(module,inputs,output):
			x=inputs[0].detach().float().reshape(-1,inputs[0].shape[-1])
			if name not in found:found[name]=torch.zeros(x.shape[1],x.shape[1],device=device)
			found[name].addmm_(x.T,x)
		return hook
	for name,m in model.named_modules():
		if isinstance(m,nn.Linear):hooks.append(m.register_forward_hook(watch(name)))
	with torch.no_grad():
		for _ in range(64):x,_=rows.next_batch(h.batch_tokens,8);model.logits(x)
	for k in hooks:k.remove()
	return{k:v.cpu()/64 for k,v in found.items()}
def pack(state,H):
	out={}
	for k,w in state.items():
		if w.ndim!=2:out[k]=w.half();continue
		row=w.float().std(dim=1)*12.85/31
		if k[:-7]in H:perm=torch.argsort(torch.diag(H[k[:-7]]),descending=True);w=w[:,perm][:,torch.argsort(perm)]
		out[k+'.q']=torch.clamp(torch.round(w.float()/row[:,None]),-31,31).to(torch.int8);out[k+'.s']=row.half()
	return out
def serialize(h,model,code):
	buf=io.BytesIO();torch.save(pack({k:v.detach().cpu()for k,v in model.state_dict().items()},hessians(h,torch.device('cuda'),model)),buf);blob=lzma.compress(buf.getvalue())
	if h.rank==0:
		with open(h.model_path,'wb')as f:f.write(blob)
	log(f'bytes {len(blob)+len(code.encode())}')
def deserialize(h,device):
	model=Net(h).to(device).bfloat16()
	with open(h.model_path,'rb')as f:raw=torch.load(io.BytesIO(lzma.decompress(f.read())),map_location='cpu')
	state={}
	for k in model.state_dict():state[k]=raw[k]if k in raw else raw[k+'.q'].float()*raw[k+'.s'].float()[:,None]
	model.load_state_dict(state,strict=True);return model
def finish(nats,count,size):
	loss=(nats/count).item();return loss,loss/math.log(2.)*(count.item()/size.item())
def plain_eval(h,device,val,model):
	seq=h.eval_seq;total=(val.tokens.numel()-1)//seq;a=total*h.rank//h.world_size;b=total*(h.rank+1)//h.world_size;nats=torch.zeros((),device=device,dtype=torch.float64);count=torch.zeros((),device=device,dtype=torch.float64);size=torch.zeros((),device=device,dtype=torch.float64);model.eval()
	with torch.inference_mode():
		for s in range(a,b,16):
			e=min(s+16,b);local=val.tokens[s*seq:e*seq+1].to(device=device,dtype=torch.int64);x=local[:-1].reshape(-1,seq);y=local[1:].reshape(-1,seq)
			with torch.autocast(device_type='cuda',dtype=torch.bfloat16):loss=model(x,y).detach()
			n=float(y.numel());nats+=loss.to(torch.float64)*n;count+=n;p,t=x.reshape(-1),y.reshape(-1);size+=(val.base[t].to(torch.int16)+(val.lead[t]&~val.edge[p]).to(torch.int16)).to(torch.float64).sum()
	if dist.is_available()and dist.is_initialized():
		for v in(nats,count,size):dist.all_reduce(v,op=dist.ReduceOp.SUM)
	model.train();return finish(nats,count,size)
def find_documents(tokens):
	at=(tokens==1).nonzero(as_tuple=True)[0].tolist();docs=[]
	for i in range(len(at)):
		end=at[i+1]+1 if i+1<len(at)else tokens.numel()
		if end-at[i]>=2:docs.append((at[i],end-at[i]))
	return docs
def queue_of(docs,h):
	order=sorted(range(len(docs)),key=lambda i:docs[i][1],reverse=True);groups=[[(i,docs[i])for i in order[s:s+h.docs_per_batch]]for s in range(0,len(order),h.docs_per_batch)];return list(enumerate(groups))
def claim(path,length):
	try:
		with open(path,'r+b')as f:fcntl.flock(f,fcntl.LOCK_EX);i=int.from_bytes(f.read(4),'little');f.seek(0);f.write((i+1).to_bytes(4,'little'));f.flush()
	except FileNotFoundError:return length
	return i
def add_to(path,n):
	with open(path,'r+b')as f:fcntl.flock(f,fcntl.LOCK_EX);now=int.from_bytes(f.read(8),'little')+n;f.seek(0);f.write(now.to_bytes(8,'little'));return now
def window(c,length,chunks,size,most):
	end=length if c==chunks-1 else(c+1)*size;begin=max(0,end-most);return begin,end-begin,c*size-begin,end-c*size
def add_scores(losses,x,y,offsets,lengths,positions,val,nats,size,count):
	p=positions[:x.size(1)].unsqueeze(0);mask=((lengths.unsqueeze(1)>0)&(p>=offsets.unsqueeze(1))&(p<(offsets+lengths).unsqueeze(1))).to(torch.float64);b=val.base[y].to(torch.float64);b+=(val.lead[y]&~val.edge[x]).to(torch.float64);nats+=(losses.to(torch.float64)*mask).sum();size+=(b*mask).sum();count+=lengths.to(torch.float64).sum()
def global_step(h,device,model,tokens):
	total=tokens.numel()-1;chunks=(total+h.global_chunk-1)//h.global_chunk;params=list(model.parameters())
	for p in params:p.requires_grad_(True)
	opt=torch.optim.SGD(params,lr=h.global_lr,momentum=.9)
	for c in range(chunks):
		a=c*h.global_chunk;b=min((c+1)*h.global_chunk,total)
		if c==chunks-1:continue
		n=(b-a)//h.eval_seq
		if n<=0:continue
		for g in opt.param_groups:g['lr']=h.global_lr*.5*(1+math.cos(math.pi*c/max(chunks-2,1)))
		s0,s1=n*h.rank//h.world_size,n*(h.rank+1)//h.world_size
		for r in range(0,s1-s0,32):
			e=min(r+32,s1-s0);local=tokens[a+(s0+r)*h.eval_seq:a+(s0+e)*h.eval_seq+1].to(device=device,dtype=torch.int64);opt.zero_grad(set_to_none=True)
			with torch.enable_grad():
				with torch.autocast(device_type='cuda',dtype=torch.bfloat16):loss=model(local[:-1].reshape(-1,h.eval_seq),local[1:].reshape(-1,h.eval_seq))
			loss.backward()
			for p in params:
				if p.grad is not None:dist.all_reduce(p.grad,op=dist.ReduceOp.SUM);p.grad.mul_(1./h.world_size)
			torch.nn.utils.clip_grad_norm_(params,1.)
			opt.step()
def phased_eval(h,model,device,val,run_adapted):
	model.eval()
	for p in model.parameters():p.requires_grad_(False)
	tokens=val.tokens;as_int=tokens.to(torch.int32);docs=find_documents(tokens);limit=max(0,min(len(docs),h.prefix_docs));bounds=[limit*(i+1)//h.phases for i in range(h.phases)];phase=0;bound=bounds[0];queue=queue_of(docs,h);length=len(queue);counter=f'/tmp/c_{h.run}';prefix=f'/tmp/p_{h.run}';flag=f'/tmp/f_{h.run}'
	if dist.is_available()and dist.is_initialized():
		paths=[counter,prefix,flag];dist.broadcast_object_list(paths,src=0);counter,prefix,flag=paths;dist.barrier()
	nats=torch.zeros((),device=device,dtype=torch.float64);size=torch.zeros((),device=device,dtype=torch.float64);count=torch.zeros((),device=device,dtype=torch.float64);started=time.perf_counter()
	def optimizer_for(lora):
		if os.environ.get('TTT_OPT','adamw')=='sgd':return torch.optim.SGD(lora.parameters(),lr=h.lora_lr)
		return torch.optim.AdamW(lora.parameters(),lr=h.lora_lr,betas=(0.,.99),eps=1e-10,weight_decay=.5,fused=True)
	kept=DocumentLoRA(h.docs_per_batch,model,h.lora_rank).to(device);kept_opt=optimizer_for(kept);mine=[];done=limit==0
	try:
		while True:
			i=claim(counter,length)
			if i>=length:break
			number,entries=queue[i];batch=[d for _,d in entries];n=len(batch);before=nats.item()
			if n==kept.n:
				kept.reset()
				for s in kept_opt.state.values():
					for k,v in s.items():
						if isinstance(v,torch.Tensor):v.zero_()
				lora,opt=kept,kept_opt
			else:lora=DocumentLoRA(n,model,h.lora_rank).to(device);opt=optimizer_for(lora)
			lengths=[d-1 for _,d in batch];chunks=[(d+h.chunk-1)//h.chunk for d in lengths];most=max(chunks);chunks_t=torch.tensor(chunks,device=device)
			for c in range(most):
				more=any(c<k-1 for k in chunks);starts=torch.zeros(n,dtype=torch.int64);spans=torch.zeros(n,dtype=torch.int64);offs=torch.zeros(n,dtype=torch.int64);lens=torch.zeros(n,dtype=torch.int64)
				for b in range(n):
					if c>=chunks[b]:continue
					start,_=batch[b];begin,span,off,num=window(c,lengths[b],chunks[b],h.chunk,h.eval_seq);starts[b]=start+begin;spans[b]=span;offs[b]=off;lens[b]=num
				_,width,off0,_=window(c,(c+1)*h.chunk,c+1,h.chunk,h.eval_seq);cols=torch.arange(width+1);idx=starts.unsqueeze(1)+cols.unsqueeze(0);idx.clamp_(max=tokens.numel()-1);got=as_int[idx].to(device=device,dtype=torch.int64,non_blocking=True);valid=(cols[:width].unsqueeze(0)<spans.unsqueeze(1)).to(device);x=torch.where(valid,got[:,:width],0);y=torch.where(valid,got[:,1:width+1],0);pos=torch.arange(width,device=device)
				if more:
					with torch.autocast(device_type='cuda',dtype=torch.bfloat16):losses=run_adapted(x,y,lora=lora)
				else:
					with torch.no_grad(),torch.autocast(device_type='cuda',dtype=torch.bfloat16):losses=run_adapted(x,y,lora=lora)
				with torch.no_grad():add_scores(losses,x,y,offs.to(device),lens.to(device),pos,val,nats,size,count)
				if more:
					per=losses[:,off0:off0+h.chunk].mean(dim=-1);opt.zero_grad(set_to_none=True);(per*(chunks_t-1>c).float()).sum().backward();opt.step()
				else:del losses
			log(f"b{number} {(nats.item()-before)/max(count.item(),1):.4f} {nats.item()/math.log(2.)/max(size.item(),1):.4f}")
			if not done:
				mine.extend((number,k,a,m)for k,(a,m)in enumerate(batch));scored=add_to(prefix,len(entries))
				if scored>=bound:
					with open(flag,'x'):pass
				if os.path.exists(flag):
					gathered=[None]*h.world_size
					if dist.is_available()and dist.is_initialized():dist.barrier();dist.all_gather_object(gathered,mine)
					else:gathered=[mine]
					behind=[]
					for part in gathered:
						if part:behind.extend(part)
					behind.sort(key=lambda e:(e[0],e[1]));behind=behind[:bound];pieces=[val.tokens[a:a+m]for _,_,a,m in behind];learned=torch.cat(pieces)if pieces else val.tokens[:0]
					global_step(h,device,model,learned)
					for p in model.parameters():p.requires_grad_(False)
					kept=DocumentLoRA(h.docs_per_batch,model,h.lora_rank).to(device);kept_opt=optimizer_for(kept);phase+=1
					if phase>=h.phases:done=True
					else:bound=bounds[phase]
	finally:log(f'{time.perf_counter()-started:.1f}s')
	if dist.is_available()and dist.is_initialized():
		for v in(nats,size,count):dist.all_reduce(v,op=dist.ReduceOp.SUM)
	return finish(nats,count,size)
def timed(label,fn,*args,**kwargs):
	torch.cuda.synchronize();t=time.perf_counter();loss,bpb=fn(*args,**kwargs);torch.cuda.synchronize();log(f"{label} val_loss:{loss:.8f} val_bpb:{bpb:.8f} eval_time:{1e3*(time.perf_counter()-t):.0f}ms");return loss,bpb
def run(h,device):
	random.seed(h.seed);val=Validation(h,device);model,compiled=train_model(h,device,val);torch._dynamo.reset();timed('before quantization',plain_eval,h,device,val,compiled);serialize(h,model,Path(__file__).read_text(encoding='utf-8'))
	if h.distributed:dist.barrier()
	quantized=deserialize(h,device);timed('quantized',plain_eval,h,device,val,torch.compile(quantized,dynamic=False))
	if h.ttt:
		fresh=deserialize(h,device);inner=None
		def direct(x,y,lora):return fresh.adapted(x,y,lora=lora)
		def adapted(x,y,lora):
			nonlocal inner
			if inner is None:inner=torch.compile(direct,dynamic=True)
			return inner(x,y,lora=lora)
		for n in[h.docs_per_batch]:
			trial=DocumentLoRA(n,fresh,h.lora_rank).to(device);opt=torch.optim.AdamW(trial.parameters(),lr=h.lora_lr)
			for width in(h.chunk,h.eval_seq):xw=torch.randint(0,h.vocab_size,(n,width),device=device);yw=torch.randint(0,h.vocab_size,(n,width),device=device);adapted(xw,yw,lora=trial)[:,:8].mean(dim=-1).sum().backward();opt.step();opt.zero_grad(set_to_none=True)
			del trial,opt
		timed('phased',phased_eval,h,fresh,device,val,run_adapted=adapted)
def main():
	if not torch.cuda.is_available():raise RuntimeError('CUDA is required')
	device=torch.device('cuda',int(os.environ.get('LOCAL_RANK','0')));h=Settings()
	if h.distributed:dist.init_process_group(backend='nccl',device_id=device)
	use_settings(h);run(h,device)
if __name__=='__main__':main()
